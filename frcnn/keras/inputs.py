"""What the network is given, as fixed tuples of arrays: made from the torch side's batches, whose loader serves both.

Shapes: N images padded to H x W, A anchors of the padded grid, G objects at most, S sampled anchors, T proposals.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import torch

from frcnn.anchors.grid import anchor_grid, feature_grid
from frcnn.detector.config import DetectorConfig
from frcnn.pytorch.faster_rcnn import Batch, Sizes
from frcnn.pytorch.rpn import proposing_anchors


class ImageInputs(NamedTuple):
    """What detection needs; the fields are NumPy arrays, or tensors within a tf.function.

    images (N, H, W, 3) uint8 RGB, padded at the right and bottom; sizes (N, 2) int32, (width, height) without padding;
    grids (N, 2) int32, (rows, columns) of each image's own grid; anchors (A, 4) float32 of the padded one; inside
    (N, A) bool, which of them may yield proposals.
    """

    images: Any
    sizes: Any
    grids: Any
    anchors: Any
    inside: Any


class Inputs(NamedTuple):
    """What a training step needs: the pictures, and the rest of `frcnn.pytorch.faster_rcnn.Batch` as it is there."""

    pictures: ImageInputs
    gt_boxes: Any
    gt_labels: Any
    anchor_index: Any
    anchor_labels: Any
    anchor_deltas: Any
    roi_keys: Any


# For tf.function: one trace serves batches of every size.
IMAGE_SIGNATURE = ImageInputs(
    tf.TensorSpec((None, None, None, 3), tf.uint8),
    tf.TensorSpec((None, 2), tf.int32),
    tf.TensorSpec((None, 2), tf.int32),
    tf.TensorSpec((None, 4), tf.float32),
    tf.TensorSpec((None, None), tf.bool),
)
SIGNATURE = Inputs(
    IMAGE_SIGNATURE,
    tf.TensorSpec((None, None, 4), tf.float32),
    tf.TensorSpec((None, None), tf.int64),
    tf.TensorSpec((None, None), tf.int64),
    tf.TensorSpec((None, None), tf.int64),
    tf.TensorSpec((None, None, 4), tf.float32),
    tf.TensorSpec((None, None), tf.float32),
)


def image_inputs(images: torch.Tensor, sizes: Sizes, config: DetectorConfig) -> ImageInputs:
    """Return what detection needs of a batch of pictures.

    Args:
        images: (N, 3, H, W) uint8 RGB, padded at the right and bottom (`frcnn.pytorch.inference.pad_images`).
        sizes: (width, height) of each without padding.
    """
    height, width = images.shape[-2:]
    backbone, about = config.model.backbone, config.anchors
    grid, grids = feature_grid(width, height, backbone), [feature_grid(*size, backbone) for size in sizes]
    anchors = anchor_grid(*grid, tuple(about.anchor_sizes), tuple(about.anchor_ratios), about.anchor_offset)
    inside = proposing_anchors(
        torch.from_numpy(anchors.copy()), grid, grids, sizes, config.model.exclude_edge_proposals
    )
    return ImageInputs(
        images.permute(0, 2, 3, 1).numpy(),
        np.array(sizes, np.int32),
        np.array(grids, np.int32),
        anchors,
        inside.numpy(),
    )


def batch_inputs(batch: Batch, config: DetectorConfig) -> Inputs:
    """Return what a training step needs."""
    rest = (getattr(batch, name).numpy() for name in Inputs._fields[1:])
    return Inputs(image_inputs(batch.images, batch.sizes, config), *rest)
