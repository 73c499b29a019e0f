"""What the network is given, as fixed tuples of arrays.

Shapes: N images padded to H x W, A anchors of the padded grid, G objects at most, S sampled anchors, T proposals.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from frcnn.anchors.grid import anchor_grid, feature_maps, proposing_anchors
from frcnn.detector.batch import Batch
from frcnn.detector.config import DetectorConfig


class ImageInputs(NamedTuple):
    """What detection needs; the fields are NumPy arrays, or tensors within a tf.function.

    images (N, H, W, 3) uint8 RGB, padded at the right and bottom; sizes (N, 2) int32, (width, height) without padding;
    grids (N, 2) int32, (rows, columns) of each image's own grid; anchors (A, 4) float32 of the padded one;
    allowed (N, A) bool, the anchors that may become proposals.
    """

    images: Any
    sizes: Any
    grids: Any
    anchors: Any
    allowed: Any


class Inputs(NamedTuple):
    """What a training step needs: the pictures, and the rest of `frcnn.detector.batch.Batch` as it is there."""

    pictures: ImageInputs
    gt_boxes: Any
    gt_labels: Any
    anchor_index: Any
    anchor_labels: Any
    anchor_deltas: Any
    roi_priorities: Any


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


def image_inputs(images: np.ndarray, sizes: list[tuple[int, int]], config: DetectorConfig) -> ImageInputs:
    """Return what detection needs of padded images (N, H, W, 3) uint8; sizes are (width, height) without padding."""
    backbone, exclude_edge = config.model.backbone, config.model.proposals.exclude_edge
    padded = (images.shape[2], images.shape[1])
    maps, *own = (feature_maps(size, backbone, config.anchors) for size in [padded, *sizes])
    allowed = proposing_anchors(maps, [each.grids for each in own], sizes, config.anchors, exclude_edge)
    anchors = anchor_grid(maps, config.anchors)
    grids = np.array([each.grids[0] for each in own], np.int32)
    return ImageInputs(images, np.array(sizes, np.int32), grids, anchors, allowed)


def batch_inputs(batch: Batch, config: DetectorConfig) -> Inputs:
    """Return what a training step needs."""
    rest = (getattr(batch, name) for name in Inputs._fields[1:])
    return Inputs(image_inputs(batch.images, batch.sizes, config), *rest)
