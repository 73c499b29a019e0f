"""detections.h5: the boxes that a detector found on one split of a dataset.

The file, version 4 (N images, D detections, C classes):

    attributes       format = "frcnn detections", version = 4, split, provenance (JSON: what they come from, see
                     `SplitDetections`)
    image_ids        (N,) UTF-8 text of fixed length, in the order of the split
    class_names      (C,) UTF-8 text of fixed length, without background
    offsets          (N + 1,) int64; image i owns rows offsets[i] to offsets[i + 1] of the next three
    boxes            (D, 4) float32 xyxy, pixels of the original picture, continuous
    scores           (D,) float32
    labels           (D,) int64, 1..C

The file ends with a checksum (frcnn.checksums); the same detections give the same bytes. A file whose name ends with
.json holds COCO results instead (frcnn.detections.coco_results), which most other detectors can write.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.array_file import divides, from_json, read_arrays, text_array, texts_of, write_arrays
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.coco_results import is_results, read_results, write_results
from frcnn.detections.detections import SplitDetections
from frcnn.errors import UserError
from frcnn.messages import first_few, first_line

FORMAT, VERSION = "frcnn detections", 4
REMEDY = "run `frcnn detect`"
DTYPES = {"offsets": np.int64, "boxes": np.float32, "scores": np.float32, "labels": np.int64}


def write_detections(path: Path, detections: SplitDetections) -> None:
    """Write detections, atomically; as COCO results if the name ends with .json.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    if is_results(path):
        write_results(path, detections)
        return
    attributes = {
        "format": FORMAT,
        "version": VERSION,
        "split": detections.split,
        "provenance": detections.provenance,
    }
    write_arrays(path, attributes, _arrays(detections))


def read_detections(path: Path) -> SplitDetections:
    """Read a detections file (HDF5).

    Raises:
        UserError: no such file; not a detections file; another version; damaged.
    """
    attributes, arrays = read_arrays(path, REMEDY)
    _check_version(path, attributes)
    try:
        detections = SplitDetections(
            image_ids=texts_of(arrays["image_ids"]),
            class_names=texts_of(arrays["class_names"]),
            **{name: arrays[name] for name in DTYPES},
            split=str(attributes["split"]),
            provenance=from_json(attributes, "provenance", dict),
        )
        problem = _inconsistency(detections)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        problem = f"not as a detections file should be ({first_line(error)})"
    if problem:
        raise UserError(f"{path}: {problem}; {REMEDY}")
    return detections


def read_with_annotations(
    path: Path, dataset: VocDataset, split: str, box_convention: str, instances: Path | None = None
) -> tuple[SplitDetections, list[Annotation]]:
    """Read detections, HDF5 or COCO results (.json), and the ground truth of the split that they must be of.

    Args:
        path: the detections.
        dataset: the ground truth.
        split: its name.
        box_convention: voc, continuous or reference.
        instances: COCO's instances whose ids the results have.

    Returns:
        The detections, and the annotations in the order of their images.

    Raises:
        UserError: either cannot be read, or they do not belong together.
    """
    if is_results(path):
        detections = read_results(path, dataset.split(split), dataset.class_names, split, instances)
    elif instances:
        raise UserError(f"{path}: --instances is for COCO results, whose name ends with .json; leave it out")
    else:
        detections = read_detections(path)
        check_agreement(path, detections, split, dataset.class_names, dataset.split(split))
    annotations = {each.image_id: each for each in dataset.annotations(split, box_convention)}
    return detections, [annotations[image_id] for image_id in detections.image_ids]


def check_agreement(
    path: Path, detections: SplitDetections, split: str, class_names: Sequence[str], image_ids: Sequence[str]
) -> None:
    """Check that detections belong to this split of a dataset; the images may come in any order.

    Args:
        path: the detections file, for the message.
        detections: its content.
        split: name of the dataset's split.
        class_names: the dataset's classes in order, without background.
        image_ids: the images of the split.

    Raises:
        UserError: another split, other classes, an image too many or too few.
    """
    if detections.split != split:
        raise UserError(
            f"{path}: detections on split {detections.split!r}, not {split!r}; run frcnn detect on that one"
        )
    if detections.class_names != list(class_names):
        theirs, ours = (first_few(names) for names in (detections.class_names, class_names))
        raise UserError(f"{path}: made for the classes {theirs}, but the dataset has {ours}; run frcnn detect again")
    found, expected = set(detections.image_ids), set(image_ids)
    if missing := sorted(expected - found):
        raise UserError(f"{path}: no entry for {first_few(missing)} of split {split}; run frcnn detect again")
    if unknown := sorted(found - expected):
        raise UserError(
            f"{path}: holds {first_few(unknown)}, not in split {split} of the dataset; run frcnn detect again"
        )


def _arrays(detections: SplitDetections) -> dict[str, np.ndarray]:
    return {
        "image_ids": text_array(detections.image_ids),
        "class_names": text_array(detections.class_names),
        "offsets": np.asarray(detections.offsets, np.int64),
        "boxes": np.asarray(detections.boxes, np.float32).reshape(-1, 4),
        "scores": np.asarray(detections.scores, np.float32),
        "labels": np.asarray(detections.labels, np.int64),
    }


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if attributes.get("format") != FORMAT:
        raise UserError(f"{path}: not a detections file; {REMEDY}")
    if attributes.get("version") != VERSION:
        raise UserError(
            f"{path}: version {attributes.get('version')} of the detections file, but this program reads {VERSION}; "
            f"{REMEDY} again"
        )


def _inconsistency(detections: SplitDetections) -> str | None:
    """Return what contradicts the schema in a file that could be read, or None."""
    count, offsets, ids = detections.scores.size, detections.offsets, detections.image_ids
    if detections.boxes.shape != (count, 4) or {detections.labels.shape, detections.scores.shape} != {(count,)}:
        return "boxes, scores and labels differ in length"
    if any(getattr(detections, name).dtype != dtype for name, dtype in DTYPES.items()):
        return "an array is of another type"
    if not divides(offsets, len(ids), count):
        return "offsets do not divide the rows among the images"
    if len(set(ids)) != len(ids):
        return "an image stands in it twice"
    if not np.isfinite(detections.boxes).all() or not np.isfinite(detections.scores).all():
        return "a box or score is not a finite number"
    if count and not (detections.labels.min() >= 1 and detections.labels.max() <= len(detections.class_names)):
        return "a label names no class"
    return None
