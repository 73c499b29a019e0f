"""Precision-recall curves: thinned for a table, and drawn."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from frcnn.colors import PALETTE
from frcnn.evaluation.voc_ap import ClassResult, mean_ap
from frcnn.files import atomic_path
from frcnn.fonts import find_font, legible, shorten

COLORS = [tuple(value / 255 for value in color) for color in PALETTE]
STYLES = ["-", "--", ":", "-."]  # one for each round of the colors
ROWS, LETTERS = 24, 9  # of the legend: classes a column, size of letters


def thin_curve(result: ClassResult, points: int = 200) -> np.ndarray:
    """Return indices, ascending, of at most `points` points that keep the curve's shape.

    The corners of the curve's upper envelope come first, then points spread evenly along it. If the corners alone
    are too many, they are spread evenly.
    """
    count = len(result.recalls)
    if count <= points:
        return np.arange(count)
    envelope = np.maximum.accumulate(result.precisions[::-1])[::-1]
    corners = np.union1d(np.flatnonzero(np.diff(envelope) < 0), [0, count - 1])
    if len(corners) >= points:
        return corners[_spread(len(corners), points)]
    return np.union1d(corners, _spread(count, points - len(corners)))


def draw_curves(path: Path, results: Sequence[ClassResult], iou_threshold: float) -> None:
    """Draw the curve of every class that has objects, best first in the legend, as a PNG file.

    A class is named by its number where no font has the letters of its name.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    names = legible([shorten(each.name) for each in results])
    named = [(result, name) for result, name in zip(results, names, strict=True) if result.objects]
    shown = sorted(named, key=lambda pair: -pair[0].ap["voc07"])
    columns = max(1, -(-len(shown) // ROWS))
    figure = Figure(figsize=(7.0 + 2.6 * columns, 6.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for i, (result, name) in enumerate(shown):
        _draw_curve(axes, result, name, i)
    _decorate(
        axes, f"mAP {mean_ap(results, 'voc07'):.3f} (11-point), IoU > {iou_threshold:g}" if shown else "No objects"
    )
    if shown:
        legend = axes.legend(
            title="AP (11-point)",
            loc="upper left",
            bbox_to_anchor=(1.01, 1),
            borderaxespad=0,
            ncols=columns,
            fontsize=LETTERS,
        )
        for text in legend.get_texts():
            if not text.get_text().isascii():
                text.set_fontproperties(FontProperties(fname=find_font(text.get_text()), size=LETTERS))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_curve(axes: Axes, result: ClassResult, name: str, index: int) -> None:
    kept = thin_curve(result, points=2000)
    kept = kept[result.recalls[kept] > 0]  # what is wrong before the first find would all lie on one spot
    name = name.replace("$", r"\$")  # which would begin a formula
    color, style = COLORS[index % len(COLORS)], STYLES[index // len(COLORS) % len(STYLES)]
    # A class without detections has an entry in the legend, but no line.
    recalls, precisions = result.recalls[kept], result.precisions[kept]
    label = f"{result.ap['voc07']:.3f}  {name}"
    marker = "o" if len(kept) == 1 else ""  # a line of one point shows nothing
    axes.plot(recalls, precisions, style, color=color, linewidth=1.6, marker=marker, label=label)


def _decorate(axes: Axes, title: str) -> None:
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="Recall", ylabel="Precision", title=title)
    ticks = np.arange(11) / 10
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.grid(color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _spread(count: int, points: int) -> np.ndarray:
    """Return at most `points` indices into `count`, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, points).round().astype(np.int64))
