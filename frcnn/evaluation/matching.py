"""Decide which detections found an object: the devkit's way, the reference implementation's, and by IoU alone.

D detections, O objects (ground truth), P pairs of a detection and an object of the same image, by descending score of
the detections, then in the objects' order. Everything is decided for all images at once.
"""

from typing import NamedTuple

import numpy as np

from frcnn.boxes import iou

FOUND, WRONG, IGNORED = 1, 0, -1


class Pairs(NamedTuple):
    """Every detection with every object of its image, by descending score of the detections, then as objects stand.

    detection (P,) and object (P,) are indices; iou (P,) is float64.
    """

    detection: np.ndarray
    object: np.ndarray
    iou: np.ndarray

    def where(self, chosen: np.ndarray) -> "Pairs":
        """Return the chosen pairs (P,) bool."""
        return Pairs(*(values[chosen] for values in self))


def pair(
    detection_images: np.ndarray, detection_boxes: np.ndarray, object_images: np.ndarray, object_boxes: np.ndarray
) -> Pairs:
    """Pair detections and objects.

    Args:
        detection_images: (D,) index of the image, by descending score.
        detection_boxes: (D, 4).
        object_images: (O,) index of the image, ascending.
        object_boxes: (O, 4), pixels of the same images.
    """
    first = np.searchsorted(object_images, detection_images, "left")
    counts = np.searchsorted(object_images, detection_images, "right") - first
    detection = np.repeat(np.arange(len(detection_images)), counts)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(counts) - counts, counts)
    objects = np.repeat(first, counts) + within
    # float64: in float32 an IoU of exactly the threshold may come out above it.
    boxes_a = detection_boxes.astype(np.float64)[detection, None]
    boxes_b = object_boxes.astype(np.float64)[objects, None]
    return Pairs(detection, objects, iou(boxes_a, boxes_b)[:, 0, 0])


def match_devkit(pairs: Pairs, count: int, difficult: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Judge detections as the VOC development kit does.

    Each detection, in descending order of score, takes the object of its image with the highest IoU (the first of
    equals), which must exceed the threshold. A difficult object makes it ignored; one already taken makes it wrong.

    Args:
        pairs: see `pair`.
        count: D.
        difficult: (O,) bool.
        iou_threshold: an IoU has to be greater than this.

    Returns:
        (D,) int8, FOUND, WRONG or IGNORED.
    """
    verdict = np.full(count, WRONG, np.int8)
    best = best_of_each_detection(pairs)
    best = best[pairs.iou[best] > iou_threshold]
    ignored = difficult[pairs.object[best]]
    verdict[pairs.detection[best[ignored]]] = IGNORED
    candidates = best[~ignored]
    verdict[pairs.detection[candidates[first_of_each(pairs.object[candidates])]]] = FOUND
    return verdict


def match_reference(pairs: Pairs, count: int, difficult: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Judge detections as the reference implementation does.

    Each object, in the order of its file, takes the detection of highest score that is not taken and whose IoU exceeds
    the threshold. Difficult objects do not exist, so that detections on them are wrong.

    Args and result: as of `match_devkit`, without IGNORED.
    """
    verdict = np.full(count, WRONG, np.int8)
    left = np.flatnonzero((pairs.iou > iou_threshold) & ~difficult[pairs.object])
    rank = _rank_in_its_detection(pairs)
    # Objects of one image wait for each other, those of different images do not: the first of each, the second of each.
    while len(left):
        now = rank[left] == rank[left].min()
        turn = left[now]
        taken = turn[first_of_each(pairs.object[turn])]
        verdict[pairs.detection[taken]] = FOUND
        left = left[~now & (verdict[pairs.detection[left]] != FOUND)]
    return verdict


def match_by_iou(pairs: Pairs) -> np.ndarray:
    """Match detections and objects one to one, the highest IoU first (of equals the first); return these pairs."""
    left = np.argsort(-pairs.iou, kind="stable")
    matched = [left[:0]]
    while len(left):
        detection, object_ = pairs.detection[left], pairs.object[left]
        # Neither the detection nor the object has a better pair.
        now = np.intersect1d(first_of_each(detection), first_of_each(object_))
        matched.append(left[now])
        left = left[~np.isin(detection, detection[now]) & ~np.isin(object_, object_[now])]
    return np.concatenate(matched)


def best_of_each_detection(pairs: Pairs) -> np.ndarray:
    """Return, for each detection that has pairs, the pair of highest IoU (the first of equals), in the pairs' order."""
    if not len(pairs.detection):
        return np.empty(0, np.int64)
    starts = _starts(pairs)
    highest = np.maximum.reduceat(pairs.iou, starts)
    lengths = np.diff(np.append(starts, len(pairs.iou)))
    at_best = np.flatnonzero(pairs.iou == np.repeat(highest, lengths))
    return at_best[first_of_each(pairs.detection[at_best])]


def _rank_in_its_detection(pairs: Pairs) -> np.ndarray:
    """Return the position of each pair's object among the objects of its image."""
    starts = _starts(pairs)
    lengths = np.diff(np.append(starts, len(pairs.iou)))
    return np.arange(len(pairs.iou)) - np.repeat(starts, lengths)


def _starts(pairs: Pairs) -> np.ndarray:
    """Return the index of the first pair of each detection."""
    return np.flatnonzero(np.diff(pairs.detection, prepend=-1))


def first_of_each(values: np.ndarray) -> np.ndarray:
    """Return the index of the first occurrence of each value, ascending."""
    return np.sort(np.unique(values, return_index=True)[1])
