"""Precision, recall and F1 against the score from which on detections count, and the score of the best F1.

The F1 of a class is the harmonic mean of precision and recall, 0 where nothing is found; that of several classes is the
mean of theirs, over the classes that have objects (as Ultralytics' F1 curve).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.evaluation.voc_ap import ClassResult

THRESHOLDS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class ScoreCurve:
    """Rates of the detections of at least each of T scores.

    Attributes:
        scores: (T,).
        precision: (T,), NaN where nothing is detected.
        recall: (T,), NaN without objects.
        f1: (T,), NaN without objects.
        best_score: that of a detection, the highest with the best F1; NaN without objects or without detections.
        best_f1: NaN without objects, 0 without detections.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best_score: float
    best_f1: float


def score_curve(result: ClassResult) -> ScoreCurve:
    """Return the curve of one class."""
    return mean_score_curve([result])


def mean_score_curve(results: Sequence[ClassResult]) -> ScoreCurve:
    """Return the mean curve of the classes that have objects; precision is of those that detect anything."""
    precision, recall, f1 = _mean_rates(results, THRESHOLDS)
    return ScoreCurve(THRESHOLDS, precision, recall, f1, *_best(results))


def best_f1(results: Sequence[ClassResult]) -> dict[str, float]:
    """Return the best mean F1, its `score` (see `threshold_below`), precision and recall; what is undefined is absent.

    With 6 digits.
    """
    score, value = _best(results)
    if math.isnan(score):
        return {} if math.isnan(value) else {"F1": value}
    precision, recall, _ = _mean_rates(results, np.array([score]))[:, 0].tolist()
    rates = {"F1": value, "precision": precision, "recall": recall}
    return {"score": threshold_below(score)} | {name: round(rate, 6) for name, rate in rates.items()}


def threshold_below(score: float) -> float:
    """Return the next number of 6 digits below a score, in float32, too: detectors keep what is above a threshold."""
    return max(0, math.floor(score * 1e6 - 0.1)) / 1e6


def _rates(result: ClassResult, thresholds: np.ndarray) -> np.ndarray:
    """Return precision, recall and F1 of a class that has objects, (3, T)."""
    count = np.searchsorted(-result.scores, -thresholds, "right")
    precision, recall = np.append(np.nan, result.precisions)[count], np.append(0.0, result.recalls)[count]
    return np.stack([precision, recall, _f1(precision, recall)])


def _f1(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    return np.where(recall > 0, 2 * precision * recall / np.where(recall > 0, precision + recall, 1), 0.0)


def _mean_rates(results: Sequence[ClassResult], thresholds: np.ndarray) -> np.ndarray:
    """Return the means of `_rates` of the classes that have objects, NaN without one."""
    rates = [_rates(result, thresholds) for result in results if result.objects]
    if not rates:
        return np.full((3, len(thresholds)), np.nan)
    precision, recall, f1 = np.stack(rates, 1)
    defined = np.count_nonzero(~np.isnan(precision), 0)
    mean = np.where(defined, np.nansum(precision, 0) / np.maximum(defined, 1), np.nan)
    return np.stack([mean, recall.mean(0), f1.mean(0)])


def _best(results: Sequence[ClassResult]) -> tuple[float, float]:
    """Return the score of the best mean F1 and that F1, over the scores of all detections."""
    chosen = [result for result in results if result.objects]
    scores = np.concatenate([np.empty(0), *(result.scores for result in chosen)])
    if not len(scores):
        return math.nan, 0.0 if chosen else math.nan
    # Every detection changes the F1 of its class, and so the mean.
    changes = [np.diff(_f1(result.precisions, result.recalls), prepend=0.0) for result in chosen]
    order = np.argsort(-scores, kind="stable")
    means = np.cumsum(np.concatenate(changes)[order]) / len(chosen)
    together = np.flatnonzero(np.append(np.diff(scores[order]) < 0, True))  # detections of one score count or do not
    best = together[np.argmax(means[together].round(12))]
    return float(scores[order[best]]), float(means[best])
