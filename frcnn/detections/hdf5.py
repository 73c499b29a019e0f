"""detections.h5: the boxes that a detector found on one split of a dataset.

The file, version 3 (N images, D detections, C classes):

    attributes       format = "frcnn detections", version = 3, split, provenance (JSON: what they come from, see
                     `SplitDetections`)
    image_ids        (N,) UTF-8 text of fixed length, in the order of the split
    class_names      (C,) UTF-8 text of fixed length, without background
    offsets          (N + 1,) int64; image i owns rows offsets[i] to offsets[i + 1] of the next three
    boxes            (D, 4) float32 xyxy, pixels of the original picture, continuous
    scores           (D,) float32
    labels           (D,) int64, 1..C

The same detections give the same bytes. A file whose name ends with .json holds COCO results instead
(frcnn.detections.coco_results), which most other detectors can write.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.coco_results import is_results, read_results, write_results
from frcnn.detections.detections import SplitDetections
from frcnn.errors import UserError
from frcnn.files import atomic_path
from frcnn.messages import first_few, first_line

FORMAT, VERSION = "frcnn detections", 3


def write_detections(path: Path, detections: SplitDetections) -> None:
    """Write detections, atomically; as COCO results if the name ends with .json.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    if is_results(path):
        write_results(path, detections)
        return
    # HDF5 in memory first: HDF5 reports a full disk only when it closes the file, and not as an OSError.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:  # the first format keeps no times
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["split"] = detections.split
        file.attrs["provenance"] = json.dumps(detections.provenance, sort_keys=True, ensure_ascii=False)
        for name, values in _arrays(detections).items():
            file.create_dataset(name, data=values, track_times=False)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_detections(path: Path) -> SplitDetections:
    """Read a detections file (HDF5).

    Raises:
        UserError: no such file; not a detections file; another version; damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such detections file; write it with: frcnn detect")
    try:
        with h5py.File(path, "r") as file:
            _check_version(path, file.attrs)
            detections = SplitDetections(
                image_ids=_texts(file["image_ids"]),
                class_names=_texts(file["class_names"]),
                offsets=file["offsets"][()].astype(np.int64),
                boxes=file["boxes"][()].astype(np.float32),
                scores=file["scores"][()].astype(np.float32),
                labels=file["labels"][()].astype(np.int64),
                split=str(file.attrs["split"]),
                provenance=dict(json.loads(file.attrs["provenance"])),
            )
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path}: damaged, or not HDF5 ({first_line(error)}); write it again: frcnn detect") from error
    problem = _inconsistency(detections)
    if problem:
        raise UserError(f"{path}: {problem}; write it again: frcnn detect")
    return detections


def read_with_annotations(
    path: Path, dataset: VocDataset, split: str, box_convention: str
) -> tuple[SplitDetections, list[Annotation]]:
    """Read detections, HDF5 or COCO results (.json), and the ground truth of the split that they must be of.

    Returns:
        The detections, and the annotations in the order of their images.

    Raises:
        UserError: either cannot be read, or they do not belong together.
    """
    if is_results(path):
        detections = read_results(path, dataset.split(split), dataset.class_names, split)
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
        "image_ids": _fixed_length(detections.image_ids),
        "class_names": _fixed_length(detections.class_names),
        "offsets": np.asarray(detections.offsets, np.int64),
        "boxes": np.asarray(detections.boxes, np.float32).reshape(-1, 4),
        "scores": np.asarray(detections.scores, np.float32),
        "labels": np.asarray(detections.labels, np.int64),
    }


def _fixed_length(texts: Sequence[str]) -> np.ndarray:
    """Return UTF-8 bytes of one length, which, unlike HDF5's variable length, always lie in the file alike."""
    encoded = [text.encode("utf-8") for text in texts]
    length = max([1, *(len(text) for text in encoded)])
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", length))


def _texts(dataset: h5py.Dataset) -> list[str]:
    return [text.decode("utf-8") if isinstance(text, bytes) else str(text) for text in dataset[()]]


def _check_version(path: Path, attributes: Mapping[str, Any]) -> None:
    if attributes.get("format") != FORMAT:
        raise UserError(f"{path}: not a detections file; write one with: frcnn detect")
    if attributes.get("version") != VERSION:
        raise UserError(
            f"{path}: version {attributes.get('version')} of the detections file, but this program reads {VERSION}; "
            "write it again: frcnn detect"
        )


def _inconsistency(detections: SplitDetections) -> str | None:
    """Return what contradicts the schema in a file that could be read, or None."""
    count, offsets, ids = len(detections.scores), detections.offsets, detections.image_ids
    if detections.boxes.shape != (count, 4) or detections.labels.shape != (count,):
        return "boxes, scores and labels differ in length"
    if len(offsets) != len(ids) + 1 or offsets[0] != 0 or offsets[-1] != count or np.any(np.diff(offsets) < 0):
        return "offsets do not divide the rows among the images"
    if len(set(ids)) != len(ids):
        return "an image stands in it twice"
    if not np.isfinite(detections.boxes).all() or not np.isfinite(detections.scores).all():
        return "a box or score is not a finite number"
    if count and not (detections.labels.min() >= 1 and detections.labels.max() <= len(detections.class_names)):
        return "a label names no class"
    return None
