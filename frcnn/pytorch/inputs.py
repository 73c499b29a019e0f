"""What the network is given, as tuples of tensors made from NumPy batches in the processes that load pictures.

Shapes: N images padded to H x W, A anchors of the padded feature maps, G objects at most, S sampled anchors, T
proposals.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from frcnn.anchors.grid import Grid, feature_maps, proposing_anchors
from frcnn.detector.batch import Batch
from frcnn.detector.config import DetectorConfig

Sizes = list[tuple[int, int]]
AnyInputs = TypeVar("AnyInputs", bound=tuple[Any, ...])


class ImageInputs(NamedTuple):
    """What detection needs.

    images (N, 3, H, W) uint8 RGB, padded at the right and bottom; sizes: (width, height) of each without padding;
    grids: (rows, columns) of each of an image's own feature maps; allowed (N, A) bool, the anchors that may become
    proposals.
    """

    images: Tensor
    sizes: Sizes
    grids: list[tuple[Grid, ...]]
    allowed: Tensor


class Inputs(NamedTuple):
    """What a training step needs: the images, and the rest of `frcnn.detector.batch.Batch` as it is there."""

    pictures: ImageInputs
    gt_boxes: Tensor
    gt_labels: Tensor
    anchor_index: Tensor
    anchor_labels: Tensor
    anchor_deltas: Tensor
    roi_priorities: Tensor


def image_inputs(images: np.ndarray, sizes: Sizes, config: DetectorConfig) -> ImageInputs:
    """Return what detection needs of padded images (N, H, W, 3) uint8; sizes are (width, height) without padding."""
    backbone, proposals = config.model.backbone, config.model.proposals
    padded = (images.shape[2], images.shape[1])
    maps, *own = (feature_maps(size, backbone, config.anchors) for size in [padded, *sizes])
    grids = [each.grids if proposals.mask_padding else maps.grids for each in own]
    allowed = proposing_anchors(maps, grids, sizes, config.anchors, proposals.exclude_edge)
    return ImageInputs(torch.from_numpy(images).permute(0, 3, 1, 2), sizes, grids, torch.from_numpy(allowed))


def batch_inputs(batch: Batch, config: DetectorConfig) -> Inputs:
    """Return what a training step needs."""
    rest = (torch.from_numpy(getattr(batch, name)) for name in Inputs._fields[1:])
    return Inputs(image_inputs(batch.images, batch.sizes, config), *rest)


def to_device(inputs: AnyInputs, device: torch.device) -> AnyInputs:
    """Return inputs with their tensors on a device."""
    return type(inputs)(*(_move(value, device) for value in inputs))


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, ImageInputs):
        return to_device(value, device)
    # On mps a copy that is not waited for may read memory that is used anew by then.
    return value.to(device, non_blocking=device.type == "cuda") if isinstance(value, Tensor) else value
