"""Every detection and object of the judged split with what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.confusion import confusion
from frcnn.evaluation.voc_ap import Objects
from frcnn.report.page.thresholds import Thresholds


@dataclass(frozen=True)
class Judged:
    """D detections on N images and their O objects.

    Attributes:
        states: of D detections: found, wrong or ignored.
        detection_steps: (D,) index of the highest threshold at which a detection counts.
        object_steps: (O,) the same of the detection that found an object, -1 where none did.
    """

    objects: Objects
    detections: SplitDetections
    states: list[str]
    detection_steps: np.ndarray
    object_steps: np.ndarray

    @property
    def names(self) -> Sequence[str]:
        """Names of the classes; label 1 is the first."""
        return self.detections.class_names


def judge(objects: Objects, detections: SplitDetections, thresholds: Thresholds, iou_threshold: float) -> Judged:
    """Return what became of detections of any score."""
    events = confusion(objects, detections, -np.inf, iou_threshold)
    counted = events.detections >= 0
    found = counted & (events.objects >= 0) & (events.truth == events.detected)
    states = np.full(len(detections.scores), "ignored", "<U7")
    states[events.detections[counted]] = "wrong"
    states[events.detections[found]] = "found"
    steps, object_steps = thresholds.steps_of(detections.scores), np.full(len(objects.labels), -1)
    object_steps[events.objects[found]] = steps[events.detections[found]]
    return Judged(objects, detections, states.tolist(), steps, object_steps)
