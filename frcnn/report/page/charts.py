"""Lines of the page's charts, in pixels of their drawing area."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.evaluation.curves import thin_curve
from frcnn.evaluation.score_curves import ScoreCurve
from frcnn.evaluation.voc_ap import ClassResult

WIDTH, HEIGHT = 300, 200  # px of an area
MOST_LINES, POINTS = 80, 150  # classes in a chart, points of a precision-recall curve


@dataclass(frozen=True)
class Line:
    """The line of a class 1..C, or of the mean (0): points as SVG writes them."""

    label: int
    name: str
    points: str


@dataclass(frozen=True)
class Chart:
    """A chart whose axes go from 0 to 1; the mean is its last line."""

    key: str
    title: str
    across: str
    lines: list[Line]


def charts_of(results: Sequence[ClassResult], curves: Sequence[ScoreCurve], mean: ScoreCurve) -> list[Chart]:
    """Return the curves of the classes with the most objects: over the score, and precision over recall."""
    order = sorted(range(len(results)), key=lambda i: (-results[i].objects, i))[:MOST_LINES]
    shown = sorted(i for i in order if results[i].objects)
    charts = []
    for key, title in (("f1", "F1"), ("precision", "Precision"), ("recall", "Recall")):
        lines = [_line(i + 1, results[i].name, curves[i].scores, getattr(curves[i], key)) for i in shown]
        charts.append(Chart(key, title, "Score", [*lines, _line(0, "Mean", mean.scores, getattr(mean, key))]))
    lines = []
    for i in shown:
        kept = thin_curve(results[i], POINTS)
        kept = kept[results[i].recalls[kept] > 0]  # what is wrong before the first find would all lie on one spot
        lines.append(_line(i + 1, results[i].name, results[i].recalls[kept], results[i].precisions[kept]))
    return [*charts, Chart("pr", "Precision", "Recall", lines)]


def _line(label: int, name: str, across: np.ndarray, up: np.ndarray) -> Line:
    known = np.isfinite(up) & (across <= 1)
    points = [f"{x * WIDTH:.1f},{(1 - y) * HEIGHT:.1f}" for x, y in zip(across[known], up[known], strict=True)]
    return Line(label, name, " ".join(points * 2 if len(points) == 1 else points))  # a point alone is not drawn
