"""anchors.h5: the RPN's targets of a split, for every image and its mirror image.

Attributes: schema "frcnn-anchors", version, provenance (JSON: what it was made from), class_names (JSON). The
file ends with a checksum.
Datasets, N images, flat arrays with offsets as in CSR:

    image_id (N,) text      size_original (N, 2), size (N, 2) int32: width, height      gt_offsets (N+1,) int64
    gt_labels (G,) int64    and in each of the groups `identity` and `mirror`:
    gt_boxes (G, 4) float32, resized pixels
    positive_offsets (N+1,) int64   positive_index (P,) int32
    positive_delta (P, 4) float32
    negative_offsets (N+1,) int64   negative_bits (B,) uint8: one bit per anchor of the image's own feature maps
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.anchors.label import LabeledImage, Labels
from frcnn.array_file import divides, from_json, read_arrays, text_array, texts_of, write_arrays
from frcnn.arrays import offsets
from frcnn.backbones import BACKBONES
from frcnn.data.voc.annotation import Annotation
from frcnn.errors import UserError
from frcnn.messages import differences, first_few, first_line
from frcnn.params import Params, to_dict

SCHEMA, VERSION = "frcnn-anchors", 4
REMEDY = "run `frcnn anchors`"
ARRAYS = {"size_original": np.int32, "size": np.int32, "gt_offsets": np.int64, "gt_labels": np.int64}
TYPES = {
    "gt_boxes": np.float32, "positive_offsets": np.int64, "positive_index": np.int32, "positive_delta": np.float32,
    "negative_offsets": np.int64, "negative_bits": np.uint8,
}  # fmt: skip
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
    backbone = BACKBONES[params.model.backbone]
    return {
        "split": params.splits.train,
        "classes": list(class_names),
        "dataset": dataset_sha256,
        "data": to_dict(params.data),
        "anchors": to_dict(params.anchors),
        "feature maps": " ".join(map(str, (backbone.grid, *backbone.strides))),
    }


def write_targets(path: Path, targets: AnchorTargets, provenance: dict[str, Any]) -> None:
    """Write anchors.h5; the same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    attributes = {"schema": SCHEMA, "version": VERSION, "provenance": provenance, "class_names": targets.class_names}
    arrays = {"image_id": text_array(targets.image_ids)} | {name: getattr(targets, name) for name in ARRAYS}
    for group in VARIANTS:
        arrays |= {f"{group}/{name}": array for name, array in vars(getattr(targets, group)).items()}
    write_arrays(path, attributes, arrays)


def read_targets(path: Path, provenance: dict[str, Any] | None = None) -> AnchorTargets:
    """Read anchors.h5 into memory.

    Args:
        provenance: what the file must have been made from; None: anything.

    Raises:
        UserError: no such file, not of this schema or version, or made from something else.
    """
    attributes, arrays = read_arrays(path, REMEDY)
    if attributes.get("schema") != SCHEMA or attributes.get("version") != VERSION:
        raise UserError(f"{path}: not an anchors file of version {VERSION}; {REMEDY} again")
    try:
        changed = differences(from_json(attributes, "provenance", dict), provenance or {})
        groups = [Variant(*(arrays[f"{group}/{field.name}"] for field in fields(Variant))) for group in VARIANTS]
        names = [str(name) for name in from_json(attributes, "class_names", list)]
        flat = {name: arrays[name] for name in ARRAYS}
        targets = AnchorTargets(texts_of(arrays["image_id"]), names, **flat, identity=groups[0], mirror=groups[1])
        problem = next(_problems(targets), None)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        problem = f"not as an anchors file should be ({first_line(error)})"
    if problem:
        raise UserError(f"{path}: {problem}; {REMEDY}")
    if changed:
        raise UserError(f"{path}: made with {first_few(changed, 6)}; {REMEDY} again")
    return targets


def _problems(targets: AnchorTargets) -> Iterator[str]:
    """Yield what contradicts the schema."""
    images, objects = len(targets), targets.gt_labels.size
    if any(getattr(targets, name).dtype != dtype for name, dtype in ARRAYS.items()):
        yield "an array is of another type"
    for sizes in (targets.size, targets.size_original):
        if sizes.shape != (images, 2) or (images and sizes.min() < 1):
            yield "the sizes are not those of pictures"
    if not divides(targets.gt_offsets, images, objects) or targets.gt_labels.shape != (objects,):
        yield "offsets do not divide the objects among the images"
    if objects and not 1 <= targets.gt_labels.min() <= targets.gt_labels.max() <= len(targets.class_names):
        yield "a label names no class"
    for variant in (targets.identity, targets.mirror):
        positives, size = len(variant.positive_index), variant.negative_bits.size
        if any(getattr(variant, name).dtype != dtype for name, dtype in TYPES.items()):
            yield "an array is of another type"
        if variant.gt_boxes.shape != (objects, 4) or variant.positive_delta.shape != (positives, 4):
            yield "boxes, labels and deltas differ in length"
        if not divides(variant.positive_offsets, images, positives) or not divides(
            variant.negative_offsets, images, size
        ):
            yield "offsets do not divide the anchors among the images"
        if not np.isfinite(variant.gt_boxes).all() or not np.isfinite(variant.positive_delta).all():
            yield "a box or delta is not a finite number"
        anchors = 8 * np.diff(variant.negative_offsets)  # at most, since one byte holds eight
        most = np.repeat(anchors, np.diff(variant.positive_offsets))
        if np.any(variant.positive_index < 0) or np.any(variant.positive_index >= most):
            yield "an index names no anchor"


def _join_labels(labels: Sequence[Labels]) -> Variant:
    return Variant(
        np.concatenate([item.gt_boxes for item in labels]),
        offsets([len(item.positive_index) for item in labels]),
        np.concatenate([item.positive_index for item in labels]),
        np.concatenate([item.positive_delta for item in labels]),
        offsets([len(item.negative_bits) for item in labels]),
        np.concatenate([item.negative_bits for item in labels]),
    )
