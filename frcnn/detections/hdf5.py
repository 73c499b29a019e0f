"""detections.h5: the boxes that a detector found on one split of a dataset.

The file, version 2 (N images, D detections, C classes):

    attributes       format = "frcnn detections", version = 2, split, made_from (JSON: what they come from, see
                     `Detections`)
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from frcnn.data.voc.dataset import Annotation, read_annotations, read_classes, read_split
from frcnn.detections.coco_results import is_results, read_results, write_results
from frcnn.errors import UserError
from frcnn.files import atomic_path

FORMAT, VERSION = "frcnn detections", 2


@dataclass(frozen=True)
class Detections:
    """Detections on one split; see the top of the module for shapes, dtypes and units.

    `made_from`, from `frcnn detect`: `weights` and `dataset` (SHA-256 of the weights file and over the split) and
    `detect` (the parameters of that name). Empty where nothing is known, as of COCO results.
    """

    image_ids: list[str]
    class_names: list[str]
    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    split: str
    made_from: dict[str, Any]

    def rows(self, image: int) -> slice:
        """Return the rows of `boxes`, `scores` and `labels` that belong to the image of this index."""
        return slice(int(self.offsets[image]), int(self.offsets[image + 1]))


def pack_images(
    image_ids: Sequence[str],
    class_names: Sequence[str],
    found: Sequence[Mapping[str, Any]],
    split: str,
    made_from: dict[str, Any],
) -> Detections:
    """Join the detections of single images.

    Args:
        image_ids: N names.
        class_names: C names, without background.
        found: for each image a mapping with boxes (n, 4), scores (n,) and labels (n,).
        split: name of the split.
        made_from: what found them in what; see `Detections`.
    """
    counts = [len(image["scores"]) for image in found]

    def join(key: str, empty: np.ndarray) -> np.ndarray:
        return np.concatenate([empty, *(np.asarray(image[key]).astype(empty.dtype) for image in found)])

    return Detections(
        image_ids=list(image_ids),
        class_names=list(class_names),
        offsets=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        boxes=join("boxes", np.empty((0, 4), np.float32)),
        scores=join("scores", np.empty(0, np.float32)),
        labels=join("labels", np.empty(0, np.int64)),
        split=split,
        made_from=made_from,
    )


def write_detections(path: Path, detections: Detections) -> None:
    """Write detections, atomically; as COCO results if the name ends with .json.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    if is_results(path):
        image_ids = np.repeat(np.array(detections.image_ids, object), np.diff(detections.offsets)).tolist()
        write_results(path, image_ids, detections.boxes, detections.scores, detections.labels)
        return
    # HDF5 in memory first: HDF5 reports a full disk only when it closes the file, and not as an OSError.
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("earliest", "v110")) as file:  # the first format keeps no times
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["split"] = detections.split
        file.attrs["made_from"] = json.dumps(detections.made_from, sort_keys=True, ensure_ascii=False)
        for name, values in _arrays(detections).items():
            file.create_dataset(name, data=values, track_times=False)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def read_detections(path: Path) -> Detections:
    """Read a detections file (HDF5).

    Raises:
        UserError: no such file; not a detections file; another version; damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such detections file; write it with: frcnn detect")
    try:
        with h5py.File(path, "r") as file:
            _check_version(path, file.attrs)
            detections = Detections(
                image_ids=_texts(file["image_ids"]),
                class_names=_texts(file["class_names"]),
                offsets=file["offsets"][()].astype(np.int64),
                boxes=file["boxes"][()].astype(np.float32),
                scores=file["scores"][()].astype(np.float32),
                labels=file["labels"][()].astype(np.int64),
                split=str(file.attrs["split"]),
                made_from=dict(json.loads(file.attrs["made_from"])),
            )
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path}: damaged, or not HDF5 ({_first_line(error)}); write it anew: frcnn detect") from error
    problem = _inconsistency(detections)
    if problem:
        raise UserError(f"{path}: {problem}; write it anew: frcnn detect")
    return detections


def read_with_annotations(
    path: Path, dataset: Path, split: str, box_convention: str
) -> tuple[Detections, list[Annotation]]:
    """Read detections, HDF5 or COCO results (.json), and the ground truth of the split that they must be of.

    Raises:
        UserError: either cannot be read, or they do not belong together.
    """
    class_names, image_ids = read_classes(dataset), read_split(dataset, split)
    if is_results(path):
        found = read_results(path, image_ids, len(class_names))
        detections = pack_images(image_ids, class_names, found, split, made_from={})
    else:
        detections = read_detections(path)
        check_agreement(path, detections, split, class_names, image_ids)
    return detections, read_annotations(dataset, split, box_convention)


def check_agreement(
    path: Path, detections: Detections, split: str, class_names: Sequence[str], image_ids: Sequence[str]
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
        theirs, ours = (_few(names) for names in (detections.class_names, class_names))
        raise UserError(f"{path}: made for the classes {theirs}, but the dataset has {ours}; run frcnn detect again")
    found, expected = set(detections.image_ids), set(image_ids)
    if missing := sorted(expected - found):
        raise UserError(f"{path}: no entry for {_few(missing)} of split {split}; run frcnn detect again")
    if unknown := sorted(found - expected):
        raise UserError(f"{path}: holds {_few(unknown)}, not in split {split} of the dataset; run frcnn detect again")


def _arrays(detections: Detections) -> dict[str, np.ndarray]:
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
            "write it anew: frcnn detect"
        )


def _inconsistency(detections: Detections) -> str | None:
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


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
