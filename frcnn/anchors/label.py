"""Anchor labels of one image and of its mirror image, ready to be stored."""

from dataclasses import dataclass

import numpy as np

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid, feature_grid, valid_anchors
from frcnn.anchors.matcher import NEGATIVE, POSITIVE, match_anchors
from frcnn.params import Anchors


@dataclass(frozen=True)
class Labels:
    """RPN targets of one image; indices are flat over its own feature grid (see `grid`).

    positive_index (P,) int32; positive_delta (P, 4) float32; positive_object (P,) int32, index into gt_boxes;
    negative_bits (ceil(A / 8),) uint8, one bit an anchor; gt_boxes (G, 4) float32 in resized pixels.
    """

    gt_boxes: np.ndarray
    positive_index: np.ndarray
    positive_delta: np.ndarray
    positive_object: np.ndarray
    negative_bits: np.ndarray


def label_image(gt_boxes: np.ndarray, width: int, height: int, backbone: str, params: Anchors) -> Labels:
    """Label the anchors of an image of width x height resized pixels against gt_boxes (G, 4) float32."""
    rows, columns = feature_grid(width, height, backbone)
    layout = (tuple(params.anchor_sizes), tuple(params.anchor_ratios), params.anchor_offset)
    anchors = anchor_grid(rows, columns, *layout)
    valid = valid_anchors(width, height, rows, columns, *layout, params.rpn_straddle_thresh)
    match = match_anchors(
        anchors[valid], gt_boxes, params.rpn_positive_iou, params.rpn_negative_iou, params.rpn_tie_tolerance
    )
    positive = match.labels == POSITIVE
    index, objects = valid[positive], match.objects[positive]
    negative = np.zeros(len(anchors), dtype=bool)
    negative[valid[match.labels == NEGATIVE]] = True
    return Labels(
        gt_boxes,
        index.astype(np.int32),
        boxes.encode(gt_boxes[objects].reshape(-1, 4), anchors[index]).astype(np.float32),
        objects.astype(np.int32),
        np.packbits(negative),
    )
