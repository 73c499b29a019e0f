"""The figures of each class and of all together: AP with intervals, and rates at the score threshold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.evaluation.bootstrap import interval
from frcnn.evaluation.score_curves import ScoreCurve
from frcnn.evaluation.voc_ap import RULES, ClassResult, Rule, mean_ap
from frcnn.report.page.thresholds import Thresholds


@dataclass(frozen=True)
class Rates:
    """Counts and rates at one score threshold; NaN where a rate is not defined."""

    found: int
    missed: int
    wrong: int
    precision: float
    recall: float
    f1: float

    @property
    def detections(self) -> int:
        """Detections that count."""
        return self.found + self.wrong


@dataclass(frozen=True)
class Row:
    """A class 1..C, or all together (0), where rates are means over the classes that have objects."""

    label: int
    name: str
    objects: int
    detections: int
    recall: float
    ap: dict[Rule, float]
    intervals: dict[Rule, tuple[float, float]]
    best_f1: float
    best_score: float
    at_best: Rates


def class_rows(
    results: Sequence[ClassResult], curves: Sequence[ScoreCurve], draws: np.ndarray, thresholds: Thresholds
) -> list[Row]:
    """Return a row for each class; `draws` (draws, C, 3) are of the bootstrap."""
    ends = interval(draws)
    rows = []
    for i, (result, curve) in enumerate(zip(results, curves, strict=True)):
        found, counted = (int(counts[i, thresholds.best]) for counts in (thresholds.found, thresholds.detections))
        rates = _rates(found, counted, result.objects)
        counts = (result.objects, result.detections, result.recall)
        rows.append(
            Row(i + 1, result.name, *counts, result.ap, _by_rule(ends[:, i]), curve.best_f1, curve.best_score, rates)
        )
    return rows


def mean_row(rows: Sequence[Row], results: Sequence[ClassResult], mean: ScoreCurve, draws: np.ndarray) -> Row:
    """Return sums of counts, and means over the classes that have objects."""
    objects, detections = (sum(getattr(row, name) for row in rows) for name in ("objects", "detections"))
    found, missed, wrong = (sum(getattr(row.at_best, name) for row in rows) for name in ("found", "missed", "wrong"))
    kept = [row.at_best for row in rows if row.objects]
    rates = (_mean([getattr(each, name) for each in kept]) for name in ("precision", "recall", "f1"))
    ap = {rule: mean_ap(results, rule) for rule in RULES}
    ends = _by_rule(interval(class_mean(draws)))
    recall = _mean([result.recall for result in results if result.objects])
    at_best = Rates(found, missed, wrong, *rates)
    return Row(0, "Mean", objects, detections, recall, ap, ends, mean.best_f1, mean.best_score, at_best)


def class_mean(draws: np.ndarray) -> np.ndarray:
    """Return the mean over the classes of draws (draws, C, ...) that are numbers; NaN where none is."""
    known = ~np.isnan(draws)
    total = np.where(known, draws, 0).sum(1)
    return np.divide(total, known.sum(1), out=np.full(total.shape, np.nan), where=known.any(1))


def _rates(found: int, counted: int, objects: int) -> Rates:
    precision = found / counted if counted else np.nan
    recall = found / objects if objects else np.nan
    f1 = 2 * found / (counted + objects) if objects else np.nan
    return Rates(found, objects - found, counted - found, precision, recall, f1)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def _by_rule(ends: np.ndarray) -> dict[Rule, tuple[float, float]]:
    return {rule: (float(ends[0, i]), float(ends[1, i])) for i, rule in enumerate(RULES)}
