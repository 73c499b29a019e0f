"""anchors.h5: the RPN's targets of a split, for every image and its mirror image.

Attributes: schema "frcnn-anchors", version, recipe (JSON: what it was made from), class_names (JSON).
Datasets, N images, flat arrays with offsets as in CSR:

    image_id (N,) text      size_original (N, 2), size (N, 2) int32: width, height      gt_offsets (N+1,) int64
    gt_labels (G,) int64    and in each of the groups `identity` and `mirror`:
    gt_boxes (G, 4) float32, resized pixels
    positive_offsets (N+1,) int64   positive_index (P,) int32
    positive_delta (P, 4) float32   positive_object (P,) int32, index into gt_boxes
    negative_offsets (N+1,) int64   negative_bits (B,) uint8: one bit an anchor of the image's own grid
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from frcnn.anchors.label import Labels
from frcnn.errors import UserError
from frcnn.files import atomic_path
from frcnn.params import Params, to_dict

SCHEMA, VERSION = "frcnn-anchors", 1
ARRAYS = ("size_original", "size", "gt_offsets", "gt_labels")
VARIANTS = ("identity", "mirror")


@dataclass(frozen=True)
class Variant:
    """The flat arrays of one group, as the module states them."""

    gt_boxes: np.ndarray
    positive_offsets: np.ndarray
    positive_index: np.ndarray
    positive_delta: np.ndarray
    positive_object: np.ndarray
    negative_offsets: np.ndarray
    negative_bits: np.ndarray


@dataclass(frozen=True)
class AnchorTargets:
    """A whole split in memory, about 20 KB an image at 600 x 1000."""

    image_ids: list[str]
    class_names: list[str]
    size_original: np.ndarray
    size: np.ndarray
    gt_offsets: np.ndarray
    gt_labels: np.ndarray
    identity: Variant
    mirror: Variant

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    def image(self, index: int, mirror: bool) -> tuple[Labels, np.ndarray]:
        """Return the targets of one image or its mirror image, and its object labels (G,) int64."""
        variant = self.mirror if mirror else self.identity
        objects = slice(*self.gt_offsets[index : index + 2])
        positive = slice(*variant.positive_offsets[index : index + 2])
        negative = slice(*variant.negative_offsets[index : index + 2])
        labels = Labels(
            variant.gt_boxes[objects],
            variant.positive_index[positive],
            variant.positive_delta[positive],
            variant.positive_object[positive],
            variant.negative_bits[negative],
        )
        return labels, self.gt_labels[objects]


def pack_variant(labels: Sequence[Labels]) -> Variant:
    """Join the labels of all images into flat arrays."""
    return Variant(
        np.concatenate([item.gt_boxes for item in labels]),
        offsets([len(item.positive_index) for item in labels]),
        np.concatenate([item.positive_index for item in labels]),
        np.concatenate([item.positive_delta for item in labels]),
        np.concatenate([item.positive_object for item in labels]),
        offsets([len(item.negative_bits) for item in labels]),
        np.concatenate([item.negative_bits for item in labels]),
    )


def offsets(counts: Sequence[int]) -> np.ndarray:
    """Return (N+1,) int64 such that image i owns rows offsets[i]:offsets[i+1]."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def recipe_of(params: Params, class_names: list[str], dataset_sha256: str) -> dict[str, Any]:
    """Return what anchor targets depend on, as kept in the file and compared when it is read."""
    return {
        "split": params.splits.train,
        "classes": class_names,
        "dataset": dataset_sha256,
        "data": to_dict(params.data),
        "anchors": to_dict(params.anchors),
        "feature grid": "floor" if params.model.backbone.startswith("vgg") else "ceil",
    }


def write_targets(path: Path, targets: AnchorTargets, recipe: dict[str, Any]) -> None:
    """Write anchors.h5; the same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    content = io.BytesIO()  # HDF5 itself does not report a full disk
    with h5py.File(content, "w", libver=("earliest", "v110")) as file:  # the first format keeps no times
        file.attrs.update(schema=SCHEMA, version=VERSION)
        file.attrs.update(recipe=_dumps(recipe), class_names=_dumps(targets.class_names))
        file.create_dataset("image_id", data=targets.image_ids, dtype=h5py.string_dtype())
        for name in ARRAYS:
            file.create_dataset(name, data=getattr(targets, name))
        for group in VARIANTS:
            for field in fields(Variant):
                file.create_dataset(f"{group}/{field.name}", data=getattr(getattr(targets, group), field.name))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_targets(path: Path, recipe: dict[str, Any] | None = None) -> AnchorTargets:
    """Read anchors.h5 into memory.

    Args:
        recipe: what the file must have been made from; None: do not ask.

    Raises:
        UserError: no such file, not of this schema or version, or made from something else.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("schema") != SCHEMA or file.attrs.get("version") != VERSION:
                raise UserError(f"{path}: not an anchors file of version {VERSION}; run `frcnn anchors` again")
            if recipe is not None:
                _compare(path, json.loads(file.attrs["recipe"]), json.loads(_dumps(recipe)))
            arrays = [file[name][()] for name in ARRAYS]
            groups = [Variant(*(file[f"{group}/{field.name}"][()] for field in fields(Variant))) for group in VARIANTS]
            ids = [text.decode() for text in file["image_id"][()]]
            return AnchorTargets(ids, json.loads(file.attrs["class_names"]), *arrays, *groups)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run `frcnn anchors` first") from error
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable anchors file ({error}); run `frcnn anchors` again") from error


def _compare(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        if found.get(key) != value:
            raise UserError(
                f"{path}: made for another {key} ({_short(found.get(key))}, now {_short(value)}); "
                "run `frcnn anchors` again"
            )


def _short(value: Any) -> str:
    text = _dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
