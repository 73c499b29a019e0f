"""The confusion matrix of a detector: which class was detected where which object is, with background."""

from dataclasses import dataclass

import numpy as np

from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, IGNORED, match_by_iou
from frcnn.evaluation.split_matching import match_split
from frcnn.evaluation.voc_ap import Objects

BACKGROUND = "(background)"  # no class is called that, and it stands before all in the order of letters


@dataclass(frozen=True)
class Confusion:
    """E events: objects with the detection that each was given, objects and detections without.

    Attributes:
        counts: (C + 1, C + 1) int64 of events; rows are the truth, columns what was detected, the last of both is
            background: row C holds false alarms on nothing, column C missed objects.
        truth: (E,) row of each event.
        detected: (E,) column of each event.
        detections: (E,) index of the detection, -1 of a missed object.
        objects: (E,) index of the object, -1 of a false alarm.
    """

    counts: np.ndarray
    truth: np.ndarray
    detected: np.ndarray
    detections: np.ndarray
    objects: np.ndarray


def confusion(objects: Objects, detections: SplitDetections, score: float, iou_threshold: float = 0.5) -> Confusion:
    """Count what the detections of at least `score` make of the objects.

    First come objects found as in the AP; detections that it ignores, on difficult objects, are left out, and so are
    these. Then detections and objects of one image that are left and of different classes are matched one to one, the
    highest IoU above the threshold first.
    """
    matching = match_split(objects, detections, iou_threshold)
    left = (detections.scores >= score) & (matching.verdict != IGNORED)
    found = np.flatnonzero(left & (matching.verdict == FOUND))
    left[found] = False
    missed = ~objects.difficult
    missed[matching.object[found]] = False
    pairs = matching.pairs
    possible = left[pairs.detection] & missed[pairs.object] & ~matching.same_class & (pairs.iou > iou_threshold)
    candidates = pairs.where(possible)
    confused = match_by_iou(candidates)
    left[candidates.detection[confused]] = missed[candidates.object[confused]] = False
    alarms, overlooked = np.flatnonzero(left), np.flatnonzero(missed)
    of_detection = np.concatenate([found, candidates.detection[confused], alarms, np.full(len(overlooked), -1)])
    of_object = np.concatenate(
        [matching.object[found], candidates.object[confused], np.full(len(alarms), -1), overlooked]
    )
    background = len(detections.class_names)
    truth = _cells(objects.labels, of_object, background)
    detected = _cells(detections.labels, of_detection, background)
    counts = np.bincount(truth * (background + 1) + detected, minlength=(background + 1) ** 2)
    return Confusion(
        counts.reshape(background + 1, background + 1), truth, detected, detections=of_detection, objects=of_object
    )


def _cells(labels: np.ndarray, indices: np.ndarray, background: int) -> np.ndarray:
    """Return the row or column of what has these indices, background for -1."""
    return np.append(labels - 1, background)[indices]
