"""Which anchors are objects: the labels of the RPN's training (Faster R-CNN, section 3.1.2)."""

from dataclasses import dataclass

import numpy as np

from frcnn import boxes

POSITIVE, NEGATIVE, IGNORE = 1, 0, -1
PAIRS = 1 << 22  # of an anchor and an object, whose overlaps are computed at once


@dataclass(frozen=True)
class Match:
    """Labels (A,) int8 in {1, 0, -1} and, for each anchor, the index (A,) int64 of the object it overlaps most."""

    labels: np.ndarray
    objects: np.ndarray


def match_anchors(
    anchors: np.ndarray, gt_boxes: np.ndarray, positive_iou: float, negative_iou: float, tie_tolerance: float
) -> Match:
    """Label anchors against the objects of one image.

    An anchor is positive where its best IoU reaches `positive_iou`, or where its IoU with some object comes within
    `tie_tolerance` of the best that any anchor has with that object and is above 0; negative where its best IoU is
    below `negative_iou`; ignored otherwise. Its object is always its own best, the first on a tie.

    Args:
        anchors: (A, 4) float32, only those that may take part.
        gt_boxes: (G, 4) float32 in the same pixels; G may be 0, then every anchor is negative.
    """
    if len(gt_boxes) == 0 or len(anchors) == 0:
        return Match(np.zeros(len(anchors), np.int8), np.zeros(len(anchors), np.int64))
    # float32 corners, float64 overlaps: the arithmetic whose ties published implementations agree on.
    anchors, gt_boxes = anchors.astype(np.float64), gt_boxes.astype(np.float64)
    best, objects = np.zeros(len(anchors)), np.zeros(len(anchors), np.int64)
    among_best = np.zeros(len(anchors), np.bool_)
    step = max(1, PAIRS // len(anchors))
    for start in range(0, len(gt_boxes), step):
        iou = boxes.iou(gt_boxes[start : start + step], anchors)  # the many anchors last: several times faster
        among_best |= ((iou >= iou.max(axis=1, keepdims=True) - tie_tolerance) & (iou > 0)).any(axis=0)
        best_here = iou.max(axis=0)
        higher = best_here > best
        best[higher], objects[higher] = best_here[higher], start + iou.argmax(axis=0)[higher]
    labels = np.full(len(anchors), IGNORE, np.int8)
    labels[best < negative_iou] = NEGATIVE
    labels[(best >= positive_iou) | among_best] = POSITIVE
    return Match(labels, objects)
