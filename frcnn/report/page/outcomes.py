"""Every detection and object of the judged split with what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, IGNORED, WRONG
from frcnn.evaluation.split_matching import match_split
from frcnn.evaluation.voc_ap import Objects
from frcnn.report.page.thresholds import Thresholds

STATES = {FOUND: "found", WRONG: "wrong", IGNORED: "ignored"}


@dataclass(frozen=True)
class Outcomes:
    """D detections on N images and their O objects.

    Attributes:
        states: of D detections: found, wrong or ignored.
        detection_steps: (D,) index of the highest threshold at which a detection counts.
        object_steps: (O,) the same of the detection that found an object, -1 where none did.
        best: index of the threshold at first.
    """

    objects: Objects
    detections: SplitDetections
    states: list[str]
    detection_steps: np.ndarray
    object_steps: np.ndarray
    best: int

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes; label 1 is the first."""
        return self.detections.class_names


def outcomes_of(
    objects: Objects, detections: SplitDetections, thresholds: Thresholds, iou_threshold: float
) -> Outcomes:
    """Return what became of detections of any score, and of the objects."""
    matching = match_split(objects, detections, iou_threshold)
    found = np.flatnonzero(matching.object >= 0)
    steps, object_steps = thresholds.steps_of(detections.scores), np.full(len(objects.labels), -1)
    object_steps[matching.object[found]] = steps[found]
    states = [STATES[each] for each in matching.verdict.tolist()]
    return Outcomes(objects, detections, states, steps, object_steps, thresholds.best)
