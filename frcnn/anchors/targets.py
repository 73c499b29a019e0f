"""anchors.h5: the RPN's targets of a split, for every image and its mirror image.

Attributes: schema "frcnn-anchors", version, provenance (JSON: what it was made from), class_names (JSON).
Datasets, N images, flat arrays with offsets as in CSR:

    image_id (N,) text      size_original (N, 2), size (N, 2) int32: width, height      gt_offsets (N+1,) int64
    gt_labels (G,) int64    and in each of the groups `identity` and `mirror`:
    gt_boxes (G, 4) float32, resized pixels
    positive_offsets (N+1,) int64   positive_index (P,) int32
    positive_delta (P, 4) float32
    negative_offsets (N+1,) int64   negative_bits (B,) uint8: one bit per anchor of the image's own grid
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from frcnn.anchors.label import LabeledImage, Labels
from frcnn.arrays import offsets
from frcnn.backbones import BACKBONES
from frcnn.data.voc.annotation import Annotation
from frcnn.errors import UserError
from frcnn.files import atomic_path
from frcnn.messages import differences, first_few
from frcnn.params import Params, to_dict

SCHEMA, VERSION = "frcnn-anchors", 2
ARRAYS = ("size_original", "size", "gt_offsets", "gt_labels")
VARIANTS = ("identity", "mirror")


@dataclass(frozen=True)
class Variant:
    """The flat arrays of one group, as the module states them."""

    gt_boxes: np.ndarray
    positive_offsets: np.ndarray
    positive_index: np.ndarray
    positive_delta: np.ndarray
    negative_offsets: np.ndarray
    negative_bits: np.ndarray


@dataclass(frozen=True)
class AnchorTargets:
    """A whole split in memory, about 20 KB per image at 600 x 1000."""

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
            variant.negative_bits[negative],
        )
        return labels, self.gt_labels[objects]


def join_images(
    annotations: Sequence[Annotation], labeled: Sequence[LabeledImage], class_names: list[str]
) -> AnchorTargets:
    """Join the labels of all images, in the order of the annotations."""
    return AnchorTargets(
        [annotation.image_id for annotation in annotations],
        class_names,
        np.array([(annotation.width, annotation.height) for annotation in annotations], np.int32),
        np.array([image.size for image in labeled], np.int32),
        offsets([len(image.gt_labels) for image in labeled]),
        np.concatenate([image.gt_labels for image in labeled]),
        _join_labels([image.identity for image in labeled]),
        _join_labels([image.mirror for image in labeled]),
    )


def provenance_of(params: Params, class_names: list[str], dataset_sha256: str) -> dict[str, Any]:
    """Return what anchor targets depend on, as kept in the file and compared when it is read."""
    return {
        "split": params.splits.train,
        "classes": list(class_names),
        "dataset": dataset_sha256,
        "data": to_dict(params.data),
        "anchors": to_dict(params.anchors),
        "feature grid": BACKBONES[params.model.backbone].grid,
    }


def write_targets(path: Path, targets: AnchorTargets, provenance: dict[str, Any]) -> None:
    """Write anchors.h5; the same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    content = io.BytesIO()  # HDF5 itself does not report a full disk
    with h5py.File(content, "w", libver=("earliest", "v110")) as file:  # the first format keeps no times
        file.attrs.update(schema=SCHEMA, version=VERSION)
        file.attrs.update(provenance=_dumps(provenance), class_names=_dumps(targets.class_names))
        file.create_dataset("image_id", data=targets.image_ids, dtype=h5py.string_dtype())
        for name in ARRAYS:
            file.create_dataset(name, data=getattr(targets, name))
        for group in VARIANTS:
            for field in fields(Variant):
                file.create_dataset(f"{group}/{field.name}", data=getattr(getattr(targets, group), field.name))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())


def read_targets(path: Path, provenance: dict[str, Any] | None = None) -> AnchorTargets:
    """Read anchors.h5 into memory.

    Args:
        provenance: what the file must have been made from; None: anything.

    Raises:
        UserError: no such file, not of this schema or version, or made from something else.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("schema") != SCHEMA or file.attrs.get("version") != VERSION:
                raise UserError(f"{path}: not an anchors file of version {VERSION}; run `frcnn anchors` again")
            changed = differences(json.loads(file.attrs["provenance"]), provenance or {})
            if changed:
                raise UserError(f"{path}: made with {first_few(changed, 6)}; run `frcnn anchors` again")
            arrays = [file[name][()] for name in ARRAYS]
            groups = [Variant(*(file[f"{group}/{field.name}"][()] for field in fields(Variant))) for group in VARIANTS]
            ids = [text.decode() for text in file["image_id"][()]]
            return AnchorTargets(ids, json.loads(file.attrs["class_names"]), *arrays, *groups)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; run `frcnn anchors` first") from error
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable anchors file ({error}); run `frcnn anchors` again") from error


def _join_labels(labels: Sequence[Labels]) -> Variant:
    return Variant(
        np.concatenate([item.gt_boxes for item in labels]),
        offsets([len(item.positive_index) for item in labels]),
        np.concatenate([item.positive_index for item in labels]),
        np.concatenate([item.positive_delta for item in labels]),
        offsets([len(item.negative_bits) for item in labels]),
        np.concatenate([item.negative_bits for item in labels]),
    )


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
