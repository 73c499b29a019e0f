"""What each detection of a split is with respect to the objects: all classes at once, as the VOC devkit judges."""

from dataclasses import dataclass

import numpy as np

from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, IGNORED, Pairs, best_of_each_detection, match_devkit, pair
from frcnn.evaluation.voc_ap import Objects


@dataclass(frozen=True)
class SplitMatching:
    """Indices of detections and objects are those of the split's arrays.

    Attributes:
        order: (D,) detections by descending score, of equals the first.
        pairs: P pairs of a detection with an object of its image, of any classes.
        same_class: (P,) bool.
        verdict: (D,) int8, FOUND, WRONG or IGNORED, as in the AP by the devkit's rules.
        object: (D,) the object that a detection found, -1 for the others.
        missed: (O,) bool, what is not difficult and nothing found.
        counted: C arrays, the detections of each class that are not ignored, by descending score.
    """

    order: np.ndarray
    pairs: Pairs
    same_class: np.ndarray
    verdict: np.ndarray
    object: np.ndarray
    missed: np.ndarray
    counted: list[np.ndarray]


def match_split(objects: Objects, detections: SplitDetections, iou_threshold: float) -> SplitMatching:
    """Match the detections with the objects of the same images; a detection finds an object if their IoU is greater."""
    order = np.argsort(-detections.scores, kind="stable")
    by_image = np.argsort(objects.images, kind="stable")
    sorted_ = pair(
        detections.image_index[order], detections.boxes[order], objects.images[by_image], objects.boxes[by_image]
    )
    pairs = Pairs(order[sorted_.detection], by_image[sorted_.object], sorted_.iou)
    same_class = detections.labels[pairs.detection] == objects.labels[pairs.object]
    of_class = pairs.where(same_class)
    verdict = match_devkit(of_class, len(order), objects.difficult, iou_threshold)
    taken, _ = best_objects(of_class, len(order))
    missed = ~objects.difficult
    missed[taken[verdict == FOUND]] = False
    counted = by_class(order[verdict[order] != IGNORED], detections)
    return SplitMatching(order, pairs, same_class, verdict, np.where(verdict == FOUND, taken, -1), missed, counted)


def by_class(chosen: np.ndarray, detections: SplitDetections) -> list[np.ndarray]:
    """Return the chosen detections, indices, of each class in the order that they have."""
    rows = chosen[np.argsort(detections.labels[chosen], kind="stable")]
    return np.split(rows, np.searchsorted(detections.labels[rows], np.arange(2, len(detections.class_names) + 1)))


def best_objects(pairs: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `count` detections the object of highest IoU, (D,), -1 without pairs, and that IoU or 0."""
    best = best_of_each_detection(pairs)
    objects, ious = np.full(count, -1), np.zeros(count)
    objects[pairs.detection[best]], ious[pairs.detection[best]] = pairs.object[best], pairs.iou[best]
    return objects, ious
