"""The pictures of the page with the boxes that lie on them."""

import base64
import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.pictures import read_picture
from frcnn.report.page.outcomes import Outcomes

SIDE = 480  # px, longer side of a picture on the page
MOST_BOXES = 100  # of each kind in a picture
QUALITIES, MOST_BYTES = (80, 60, 40), 50_000  # of JPEG: the first that makes a picture this small, or the last
LETTERS, LETTER = 23, 0.6  # in a picture's width, width of one by its height
Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Box:
    """An object or a detection on a picture, in pixels of the picture on the page.

    Attributes:
        label: 1..C.
        state: found, wrong or ignored for a detection; object or difficult for an object.
        step: index of the highest score threshold at which a detection is shown, or at which an object is found.
        place: x, y, width, height.
        text: what is written at the box, from `at`, the lower left corner.
    """

    label: int
    state: str
    step: int
    place: Place
    text: str
    at: tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its size there in pixels, its boxes, the lowest score first, and the JPEG file."""

    index: int
    name: str
    width: int
    height: int
    boxes: list[Box]
    jpeg: str


def draw_pictures(outcomes: Outcomes, annotations: Sequence[Annotation], chosen: Iterable[int]) -> list[Picture]:
    """Return the chosen pictures, indices of images.

    Raises:
        UserError: a picture cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda index: _picture(outcomes, annotations[index], index), chosen))


def _picture(outcomes: Outcomes, annotation: Annotation, index: int) -> Picture:
    scale = min(1.0, SIDE / max(annotation.width, annotation.height))
    size = max(1, round(annotation.width * scale)), max(1, round(annotation.height * scale))
    image = Image.fromarray(read_picture(annotation.path))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3) if scale < 1 else image
    return Picture(index, annotation.image_id, *size, _boxes(outcomes, index, scale, size), _jpeg(small))


def _boxes(outcomes: Outcomes, index: int, scale: float, size: tuple[int, int]) -> list[Box]:
    """Return objects and detections; only the texts that are shown at first hide none of each other."""
    objects, detections = outcomes.objects, outcomes.detections
    rows = np.arange(*detections.offsets[index : index + 2])
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")][:MOST_BOXES]
    rough = []
    for row in rows:
        text = f"{outcomes.names[detections.labels[row] - 1]} {detections.scores[row]:.2f}"
        state, step = outcomes.states[row], int(outcomes.detection_steps[row])
        mark = "✗ " if state == "wrong" else ""
        rough.append((step < outcomes.best, detections.labels[row], state, step, detections.boxes[row], mark + text))
    for row in np.flatnonzero(objects.images == index)[:MOST_BOXES]:
        state, step = "difficult" if objects.difficult[row] else "object", int(outcomes.object_steps[row])
        text = f"missed {outcomes.names[objects.labels[row] - 1]}"
        rough.append((step >= outcomes.best, objects.labels[row], state, step, objects.boxes[row], text))
    boxes, taken = [], list[Place]()
    for later, label, state, step, corners, text in sorted(rough, key=lambda each: each[0]):
        x1, y1, x2, y2 = (float(value) * scale for value in corners)
        place = (round(x1, 1), round(y1, 1), round(x2 - x1, 1), round(y2 - y1, 1))
        at = _free_place(place, text, size, [] if later else taken, state == "object")
        boxes.append(Box(int(label), state, step, place, text, at))
    return boxes[::-1]


def _free_place(box: Place, text: str, size: tuple[int, int], taken: list[Place], below: bool) -> tuple[float, float]:
    """Return the lower left corner of a text at a box, where it hides the least of those before; take that place."""
    x, y, width, height = box
    tall = size[0] / LETTERS
    wide = LETTER * tall * len(text)
    rows = [y - 0.25 * tall, y + height + tall, y + tall, y + height - 0.25 * tall]
    if below:
        rows[:2] = rows[1::-1]
    spots = [(left, row) for row in rows for left in (x, x + width - wide)]
    spots = [(max(2.0, min(a, size[0] - wide)), max(tall, min(b, size[1] - 0.25 * tall))) for a, b in spots]

    def hidden(spot: tuple[float, float]) -> float:
        left, bottom = spot
        return sum(
            max(0.0, min(left + wide, a + w) - max(left, a)) * max(0.0, min(bottom, b) - max(bottom - tall, b - tall))
            for a, b, w, _ in taken
        )

    left, bottom = min(spots, key=hidden)  # the first of equals
    taken.append((left, bottom, wide, tall))
    return round(left, 1), round(bottom, 1)


def _jpeg(image: Image.Image) -> str:
    for quality in QUALITIES:
        content = io.BytesIO()
        image.save(content, "JPEG", quality=quality, optimize=True)
        if content.tell() <= MOST_BYTES:
            break
    return base64.b64encode(content.getvalue()).decode()
