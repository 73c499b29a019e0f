"""Found and wrong detections of each class at every score threshold that the page offers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.evaluation.voc_ap import ClassResult

STEPS = 101  # thresholds 0, 0.01, ... 1
USUAL = 0.5  # where no best score is defined


@dataclass(frozen=True)
class Thresholds:
    """Counts at T ascending thresholds; a detection counts if its score is at least the threshold.

    Attributes:
        scores: (T,) float64, with the score of the best F1 among them.
        best: index of that score.
        detections: (C, T) int64, without those on difficult objects.
        found: (C, T) int64, the ones of them that found an object.
    """

    scores: np.ndarray
    best: int
    detections: np.ndarray
    found: np.ndarray

    def steps_of(self, scores: np.ndarray) -> np.ndarray:
        """Return the index (K,) of the highest threshold at which each score (K,) counts, -1 if none."""
        return np.searchsorted(self.scores, scores.astype(np.float64), side="right") - 1


def thresholds_of(results: Sequence[ClassResult], best_score: float) -> Thresholds:
    """Count at evenly spaced thresholds and at the score of the best F1, NaN where there is none."""
    best = best_score if np.isfinite(best_score) else USUAL
    scores = np.unique(np.append(np.linspace(0, 1, STEPS), best))
    detections, found = np.zeros((2, len(results), len(scores)), np.int64)
    for i, result in enumerate(results):
        detections[i] = np.searchsorted(-result.scores.astype(np.float64), -scores, side="right")
        hits = np.append(0, np.rint(result.recalls * max(result.objects, 1))).astype(np.int64)
        found[i] = hits[detections[i]]
    return Thresholds(scores, int(np.searchsorted(scores, best)), detections, found)
