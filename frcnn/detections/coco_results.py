"""COCO results: detections as a JSON file, which most detectors and tools can write or read.

The file is a list with an object for each detection, in any order:

    image_id       the image's id in the split, as in ImageSets: "000007"; when read, also a whole number that exactly
                   one id of the split means: 7
    category_id    1..C, in the order of classes.txt
    bbox           [x, y, width, height], pixels of the original picture, continuous
    score          number

Images that no entry names have no detections. Other keys are ignored. Numbers are written with all their digits, so
that float32 boxes and scores come back as they were. Results of a detector that was trained on COCO's instances have
the ids of that file; with it they are understood by the names of its pictures and classes.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from frcnn.detections.detections import Detections, SplitDetections, join_detections
from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.messages import first_line, shorten

KEYS = ("image_id", "category_id", "bbox", "score")
LARGEST = float(np.finfo(np.float32).max) / 2  # so that x + width is a float32, too


def is_results(path: Path) -> bool:
    """Tell by its name whether a file of detections is one of COCO results."""
    return path.suffix.lower() == ".json"


def write_results(path: Path, detections: SplitDetections) -> None:
    """Write detections as COCO results, a line for each, atomically.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    lines = [json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in results_of(detections)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def read_results(
    path: Path, image_ids: Sequence[str], class_names: Sequence[str], split: str, instances: Path | None = None
) -> SplitDetections:
    """Read COCO results of a split.

    Args:
        path: the file.
        image_ids: N ids of the split.
        class_names: C names.
        split: its name.
        instances: COCO's instances whose ids the results have; None: they are as stated above.

    Returns:
        The detections, of each image in the order of the file.

    Raises:
        UserError: no such file, no list in JSON, or the first entry that is not as stated above.
    """
    if instances:
        images, labels = _read_instances(instances, image_ids, class_names)
        wanted = f"write the id that {instances.name} has for a class of classes.txt"
    else:
        images, labels = _index_images(image_ids), {label: label for label in range(1, len(class_names) + 1)}
        wanted = f"write 1 to {len(class_names)}, the class's line in classes.txt counted from 1, or name --instances"
    rows: list[list[list[float]]] = [[] for _ in image_ids]
    entries = _load(path, "write COCO results there, as `frcnn detect --out x.json` does")
    if not isinstance(entries, list):
        raise UserError(f"{path}: not a list; COCO results are a list of objects with {', '.join(KEYS)}")
    for number, entry in enumerate(entries, 1):
        try:
            rows[_read_image(entry, images)].append(_read_row(entry, labels, wanted))
        except ValueError as error:
            raise UserError(f"{path}: entry {number}: {error}") from error
    tables = [np.array(each, np.float64).reshape(-1, 6) for each in rows]
    found = [Detections(table[:, :4], table[:, 4], table[:, 5]) for table in tables]
    return join_detections(image_ids, class_names, found, split)


def results_of(detections: SplitDetections) -> list[dict[str, Any]]:
    """Return an object, with `KEYS`, for each detection."""
    corners = detections.boxes.astype(np.float64).reshape(-1, 4)  # float64 holds the differences of float32 exactly
    bboxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    image_ids = [detections.image_ids[index] for index in detections.image_index]
    scores = detections.scores.astype(np.float64)
    rows = zip(image_ids, detections.labels.tolist(), bboxes.tolist(), scores.tolist(), strict=True)
    return [dict(zip(KEYS, row, strict=True)) for row in rows]


def remark_on_corners(detections: SplitDetections, sizes: np.ndarray) -> str | None:
    """Return a remark where most boxes leave their pictures, as x1, y1, x2, y2 read as x, y, width, height do.

    Args:
        detections: of COCO results, N images.
        sizes: (N, 2), width and height of the pictures.
    """
    outside = int((detections.boxes[:, 2:] > sizes[detections.image_index] + 1).any(1).sum())
    if 2 * outside <= len(detections.boxes):
        return None
    count = f"{outside} of {len(detections.boxes)} boxes leave their pictures"
    return f"{count}; is bbox x1, y1, x2, y2 instead of x, y, width, height?"


def _load(path: Path, remedy: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({first_line(error)}); {remedy}") from error


def _read_instances(
    path: Path, image_ids: Sequence[str], class_names: Sequence[str]
) -> tuple[dict[str | int, list[int]], dict[int, int]]:
    """Return the indices of the images, and the label, that each id of COCO's instances means."""
    tree = _load(path, "name COCO's instances, the ground truth of the results")
    ends: dict[tuple[str, ...], list[int]] = {}
    for i, image_id in enumerate(image_ids):
        parts = PurePosixPath(image_id).parts
        for start in range(len(parts)):
            ends.setdefault(parts[start:], []).append(i)
    try:
        files = {each["id"]: PurePosixPath(each["file_name"].replace("\\", "/")) for each in tree["images"]}
        names = {each["id"]: " ".join(str(each["name"]).split()) for each in tree["categories"]}
    except (LookupError, TypeError, AttributeError) as error:
        what = "images with id and file_name, and categories with id and name"
        raise UserError(f"{path}: no COCO instances, which have {what}") from error
    images = {key: _indices(file.with_suffix(""), ends) or _indices(file, ends) for key, file in files.items()}
    return images, {key: class_names.index(name) + 1 for key, name in names.items() if name in class_names}


def _indices(file: PurePosixPath, ends: dict[tuple[str, ...], list[int]]) -> list[int]:
    """Return the indices of the ids that end most like a path."""
    found = (ends.get(file.parts[start:]) for start in range(len(file.parts)))
    return next(filter(None, found), [])


def _index_images(image_ids: Sequence[str]) -> dict[str | int, list[int]]:
    """Return the indices of the images that an id means: the text itself, or the number that it is."""
    images: dict[str | int, list[int]] = {image_id: [i] for i, image_id in enumerate(image_ids)}
    for i, image_id in enumerate(image_ids):
        if image_id.isascii() and image_id.isdecimal():
            images.setdefault(int(image_id), []).append(i)
    return images


def _read_image(entry: Any, images: dict[str | int, list[int]]) -> int:
    """Return the index of an entry's image.

    Raises:
        ValueError: what is wrong, and how to fix it.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{shorten(entry)} is no object; write one with {', '.join(KEYS)}")
    for key in KEYS:
        if key not in entry:
            raise ValueError(f"no {key}; every entry needs {', '.join(KEYS)}")
    image_id = entry["image_id"]
    found = images.get(image_id, []) if type(image_id) in (str, int) else []  # neither true nor 7.0
    if not found:
        raise ValueError(
            f"image_id {shorten(image_id)} is no image of the split; write ids as in ImageSets, or name --instances"
        )
    if len(found) > 1:
        raise ValueError(f"image_id {image_id} means {len(found)} images of the split; write the id as text")
    return found[0]


def _read_row(entry: dict[str, Any], labels: dict[int, int], wanted: str) -> list[float]:
    """Return x1, y1, x2, y2, score and label of an entry.

    Raises:
        ValueError: what is wrong, and how to fix it.
    """
    label, bbox, score = entry["category_id"], entry["bbox"], entry["score"]
    if type(label) is not int or label not in labels:
        raise ValueError(f"category_id is {shorten(label)}; {wanted}")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise ValueError(f"bbox is {shorten(bbox)}; write [x, y, width, height] in finite numbers")
    x, y, width, height = bbox
    if width < 0 or height < 0:
        raise ValueError(f"bbox is {shorten(bbox)}, of negative size; write [x, y, width, height]")
    if not _is_number(score):
        raise ValueError(f"score is {shorten(score)}; write a finite number")
    return [x, y, x + width, y + height, score, labels[label]]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST  # NaN is not
