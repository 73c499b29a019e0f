"""The folder of a report: the page, and its figures as PNG and CSV for papers.

The curves are in metrics/ and data/pr_curves.png already, which `frcnn evaluate` writes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frcnn.evaluation.confusion import BACKGROUND
from frcnn.evaluation.suspicious import suspicious_table
from frcnn.evaluation.tables import text_cell
from frcnn.evaluation.voc_ap import RULES
from frcnn.files import atomic_folder, write_text
from frcnn.fonts import legible
from frcnn.report.page.class_table import Row
from frcnn.report.page.content import Content, Measured, error_kinds
from frcnn.report.page.html import page_html
from frcnn.report.page.training_curves import training_figure

PAGE, FIGURES = "index.html", "figures"
FEW = 20  # classes whose cells have numbers


def write_report(folder: Path, content: Content, before_end: Callable[[], None] = lambda: None) -> None:
    """Write a report into a folder, which is replaced as a whole.

    Args:
        folder: where to write; if it is not empty it must hold a page.
        content: what to show.
        before_end: called before the folder is replaced; may raise.

    Raises:
        UserError: the folder holds something else or cannot be written.
    """
    measured = content.measured
    figures = {
        "score_curves": _score_curves(measured),
        "confusion": _confusion(measured),
        "error_types": _error_types(measured),
        **({"training": training_figure(content.known.logs)} if content.known.logs else {}),
    }
    with atomic_folder(folder, PAGE) as scratch:
        new = scratch / "new"
        (new / FIGURES).mkdir()
        write_text(new / PAGE, page_html(content))
        for name, text in _tables(content).items():
            write_text(new / f"{name}.csv", text)
        for name, figure in figures.items():
            figure.savefig(new / FIGURES / f"{name}.png", metadata={"Software": None})
        before_end()


def _tables(content: Content) -> dict[str, str]:
    measured = content.measured
    detections, kinds = measured.detections, error_kinds(measured)
    names = [*map(text_cell, detections.class_names), BACKGROUND]
    tables = {
        "measures": _measures([*measured.rows, measured.total]),
        "confusion": pd.DataFrame(measured.confusion.counts, names, names).to_csv(
            index_label="truth", lineterminator="\n"
        ),
        "error_types": _csv([(kind.title, kind.count, kind.cost) for kind in kinds], ["type", "count", "cost"]),
        "suspicious": suspicious_table(
            measured.suspicions, measured.objects, detections.image_ids, detections.class_names
        ),
    }
    if content.comparison:
        rows = [(text_cell(d.name), d.before, d.now, *(d.interval or ())) for d in content.comparison.classes]
        tables["comparison"] = _csv(rows, ["class", "AP_before", "AP_now", "change_from", "change_to"][: len(rows[0])])
    return tables


def _measures(rows: Sequence[Row]) -> str:
    table = []
    for row in rows:
        ap = [value for rule in RULES for value in (row.ap[rule], *row.intervals[rule])]
        rates = (row.at_best.precision, row.at_best.recall, row.at_best.f1)
        table.append((text_cell(row.name), row.objects, row.detections, *ap, *rates, row.best_f1, row.best_score))
    ap_columns = [f"AP_{rule}{end}" for rule in RULES for end in ("", "_from", "_to")]
    columns = ["class", "objects", "detections", *ap_columns, "precision", "recall", "F1", "best_F1", "best_score"]
    return _csv(table, columns)


def _csv(rows: Sequence[tuple], columns: list[str]) -> str:
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n", float_format="%.6f")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _score_curves(measured: Measured) -> Figure:
    figure, mean = _figure(9, 3.2), measured.mean
    curves = [curve for curve, result in zip(measured.curves, measured.results, strict=True) if result.objects]
    for axes, key in zip(figure.subplots(1, 3), ("f1", "precision", "recall"), strict=True):
        for curve in curves:
            axes.plot(curve.scores, getattr(curve, key), color="0.75", lw=0.8)
        axes.plot(mean.scores, getattr(mean, key), "o-", color="C0", lw=2, ms=1)  # a point alone is seen, too
        axes.axvline(measured.score, color="0.3", lw=0.8, ls="--")
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="Score", ylabel=key.capitalize())
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _confusion(measured: Measured) -> Figure:
    counts = measured.confusion.counts
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [*(each.replace("$", r"\$") for each in legible(measured.detections.class_names)), BACKGROUND]
    side = 2.5 + 0.4 * min(len(names), 80)
    figure = _figure(side, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel=f"Detected, score from {measured.score:.3f}", ylabel="Truth")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(counts) if len(names) <= FEW + 1 else []:
        ink = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=ink, size=7)
    return figure


def _error_types(measured: Measured) -> Figure:
    figure, kinds = _figure(6, 2.8), error_kinds(measured)[::-1]
    axes = figure.subplots()
    axes.barh([kind.title for kind in kinds], [np.nan_to_num(kind.cost) for kind in kinds])
    axes.set_xlabel("Cost in mAP (area)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
