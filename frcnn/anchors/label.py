"""Label the anchors of an image and of its mirror image (Faster R-CNN, section 3.1.2)."""

from dataclasses import dataclass

import numpy as np

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid, feature_maps, valid_anchors
from frcnn.anchors.matcher import NEGATIVE, POSITIVE, match_anchors
from frcnn.data.resizing.sizes import box_scale, resized_size
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.params import Anchors, Params


@dataclass(frozen=True)
class Labels:
    """RPN targets of one image; indices are flat over its own feature maps (see `grid`).

    Attributes:
        gt_boxes: (G, 4) float32 xyxy, resized pixels.
        positive_index: (P,) int32, the positive anchors.
        positive_delta: (P, 4) float32, from each to its object.
        negative_bits: (ceil(A / 8),) uint8, one bit per anchor.
    """

    gt_boxes: np.ndarray
    positive_index: np.ndarray
    positive_delta: np.ndarray
    negative_bits: np.ndarray


@dataclass(frozen=True)
class LabeledImage:
    """Size (width, height) in resized pixels, targets of the image and of its mirror image, object labels (G,)."""

    size: tuple[int, int]
    identity: Labels
    mirror: Labels
    gt_labels: np.ndarray


def label_annotation(annotation: Annotation, params: Params) -> LabeledImage:
    """Label the anchors of one picture and of its mirror image; difficult objects take part if `data` says so."""
    original = (annotation.width, annotation.height)
    size, scale = resized_size(original, params.data), box_scale(original, params.data)
    keep = ~annotation.difficult | params.data.train_difficult
    convention = BOX_CONVENTIONS[params.data.box_convention]

    def label(original_boxes: np.ndarray) -> Labels:
        gt_boxes = (original_boxes * scale).astype(np.float32)
        return label_image(gt_boxes, size, params.model.backbone, params.anchors)

    objects = annotation.boxes[keep]
    mirrored = convention.mirror(objects, annotation.width)
    return LabeledImage(size, label(objects), label(mirrored), annotation.labels[keep])


def label_image(gt_boxes: np.ndarray, size: tuple[int, int], backbone: str, params: Anchors) -> Labels:
    """Label the anchors of an image of `size` (width, height) resized pixels against gt_boxes (G, 4) float32."""
    maps = feature_maps(size, backbone, params)
    anchors, valid = anchor_grid(maps, params), valid_anchors(size, maps, params)
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
        np.packbits(negative),
    )
