"""COCO results: detections as a JSON file, which most detectors and tools can write or read.

The file is a list with an object for each detection, in any order:

    image_id       the image's id in the split, as in ImageSets: "000007"; when read, also a whole number that exactly
                   one id of the split means: 7
    category_id    1..C, in the order of classes.txt
    bbox           [x, y, width, height], pixels of the original picture, continuous
    score          number

Images that no entry names have no detections. Other keys are ignored. Numbers are written with all their digits, so
that float32 boxes and scores come back as they were.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.detections.detections import Detections, SplitDetections, join_detections
from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.messages import shorten

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
    corners = detections.boxes.astype(np.float64).reshape(-1, 4)  # float64 holds the differences of float32 exactly
    bboxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    image_ids = [detections.image_ids[index] for index in detections.image_index]
    scores = detections.scores.astype(np.float64)
    rows = zip(image_ids, detections.labels.tolist(), bboxes.tolist(), scores.tolist(), strict=True)
    lines = [json.dumps(dict(zip(KEYS, row, strict=True)), ensure_ascii=False, allow_nan=False) for row in rows]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def read_results(path: Path, image_ids: Sequence[str], class_names: Sequence[str], split: str) -> SplitDetections:
    """Read COCO results of a split.

    Args:
        path: the file.
        image_ids: N ids of the split.
        class_names: C names.
        split: its name.

    Returns:
        The detections, of each image in the order of the file.

    Raises:
        UserError: no such file, no list in JSON, or the first entry that is not as stated above.
    """
    images = _index_images(image_ids)
    rows: list[list[list[float]]] = [[] for _ in image_ids]
    for number, entry in enumerate(_load(path), 1):
        try:
            rows[_read_image(entry, images)].append(_read_row(entry, len(class_names)))
        except ValueError as error:
            raise UserError(f"{path}: entry {number}: {error}") from error
    tables = [np.array(each, np.float64).reshape(-1, 6) for each in rows]
    found = [Detections(table[:, :4], table[:, 4], table[:, 5]) for table in tables]
    return join_detections(image_ids, class_names, found, split)


def _load(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; write it with: frcnn detect --out {path.name}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({str(error).splitlines()[0]}); write COCO results there") from error
    if not isinstance(entries, list):
        raise UserError(f"{path}: not a list; COCO results are a list of objects with {', '.join(KEYS)}")
    return entries


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
        raise ValueError(f"image_id {shorten(image_id)} is no image of the split; write ids as in ImageSets")
    if len(found) > 1:
        raise ValueError(f"image_id {image_id} means {len(found)} images of the split; write the id as text")
    return found[0]


def _read_row(entry: dict[str, Any], classes: int) -> list[float]:
    """Return x1, y1, x2, y2, score and label of an entry.

    Raises:
        ValueError: what is wrong, and how to fix it.
    """
    label, bbox, score = entry["category_id"], entry["bbox"], entry["score"]
    if type(label) is not int or not 1 <= label <= classes:
        raise ValueError(f"category_id is {shorten(label)}; write 1 to {classes}, in the order of classes.txt")
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise ValueError(f"bbox is {shorten(bbox)}; write [x, y, width, height] in finite numbers")
    x, y, width, height = bbox
    if width < 0 or height < 0:
        raise ValueError(f"bbox is {shorten(bbox)}, of negative size; write [x, y, width, height]")
    if not _is_number(score):
        raise ValueError(f"score is {shorten(score)}; write a finite number")
    return [x, y, x + width, y + height, score, label]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST  # NaN is not
