"""The pictures of the page with the boxes that lie on them."""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.pictures import read_picture
from frcnn.report.page.judged import Judged

SIDE = 480  # px, longer side of a picture on the page
MOST_BOXES = 100  # in a picture
QUALITIES, MOST_BYTES = (80, 60, 40), 50_000  # of JPEG: the first that makes a picture this small, or the last


@dataclass(frozen=True)
class Box:
    """An object or a detection on a picture.

    Attributes:
        label: 1..C.
        text: name of the class, of a detection with its score.
        state: found, wrong or ignored for a detection; object or difficult for an object.
        step: index of the highest score threshold at which a detection is shown, or at which an object is found.
        place: x, y, width and height in pixels of the picture on the page.
    """

    label: int
    text: str
    state: str
    step: int
    place: tuple[float, float, float, float]


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its size there in pixels, its boxes, the lowest score first, and the JPEG file."""

    index: int
    name: str
    width: int
    height: int
    objects: list[Box]
    detections: list[Box]
    jpeg: str


def draw_pictures(judged: Judged, annotations: Sequence[Annotation], chosen: Iterable[int]) -> list[Picture]:
    """Return the chosen pictures, indices of images.

    Raises:
        UserError: a picture cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda index: _picture(judged, annotations[index], index), chosen))


def _picture(judged: Judged, annotation: Annotation, index: int) -> Picture:
    scale = min(1.0, SIDE / max(annotation.width, annotation.height))
    size = tuple(max(1, round(side * scale)) for side in (annotation.width, annotation.height))
    image = Image.fromarray(read_picture(annotation.path))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3) if scale < 1 else image
    objects, detections = _objects(judged, index, scale), list(_detections(judged, index, scale))
    return Picture(index, annotation.image_id, *size, objects, detections, _jpeg(small))


def _objects(judged: Judged, index: int, scale: float) -> list[Box]:
    rows = np.flatnonzero(judged.objects.images == index)[:MOST_BOXES]
    boxes = []
    for row in rows:
        label, difficult = int(judged.objects.labels[row]), bool(judged.objects.difficult[row])
        place = _place(judged.objects.boxes[row], scale)
        state = "difficult" if difficult else "object"
        boxes.append(Box(label, judged.names[label - 1], state, int(judged.object_steps[row]), place))
    return boxes


def _detections(judged: Judged, index: int, scale: float) -> Iterator[Box]:
    first, last = judged.detections.offsets[index : index + 2]
    rows = np.arange(first, last)
    best = rows[np.argsort(-judged.detections.scores[rows], kind="stable")][:MOST_BOXES]
    for row in best[::-1]:
        label, score = int(judged.detections.labels[row]), judged.detections.scores[row]
        text = f"{judged.names[label - 1]} {score:.2f}"
        place = _place(judged.detections.boxes[row], scale)
        yield Box(label, text, judged.states[row], int(judged.detection_steps[row]), place)


def _place(box: np.ndarray, scale: float) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) * scale for value in box)
    return round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1)


def _jpeg(image: Image.Image) -> str:
    for quality in QUALITIES:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= MOST_BYTES:
            break
    return base64.b64encode(content.getvalue()).decode()
