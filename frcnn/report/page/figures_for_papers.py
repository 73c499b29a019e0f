"""The figures of the page as PNG files and tables, for papers."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frcnn.evaluation.confusion import BACKGROUND, confusion_table
from frcnn.evaluation.curves import draw_curves
from frcnn.evaluation.score_curves import mean_score_curve, score_curve, score_curve_table
from frcnn.evaluation.suspicious import suspicious_table
from frcnn.evaluation.tables import curve_table, text_cell
from frcnn.evaluation.voc_ap import RULES
from frcnn.files import atomic_path, write_text
from frcnn.fonts import legible
from frcnn.report.page.class_table import Row
from frcnn.report.page.content import Content, Measured, error_kinds
from frcnn.report.page.training_curves import training_figure

FEW = 20  # classes whose cells have numbers


def write_tables(folder: Path, content: Content) -> None:
    """Write every table of the page as CSV into a folder.

    Raises:
        UserError: the folder cannot be written.
    """
    measured = content.measured
    detections, kinds = measured.detections, error_kinds(measured)
    tables = {
        "measures": _measures([*measured.rows, measured.total]),
        "pr_curves": curve_table(measured.results),
        "score_curves": score_curve_table(measured.results),
        "confusion": confusion_table(measured.confusion, detections.class_names),
        "error_types": _csv([(kind.title, kind.count, kind.cost) for kind in kinds], ["type", "count", "cost"]),
        "suspicious": suspicious_table(
            measured.suspicions, measured.objects, detections.image_ids, detections.class_names
        ),
    }
    if content.comparison:
        rows = [(text_cell(d.name), d.before, d.now, *(d.interval or ())) for d in content.comparison.classes]
        columns = ["class", "AP_before", "AP_now", "change_from", "change_to"][: len(rows[0])]
        tables["comparison"] = _csv(rows, columns)
    for name, text in tables.items():
        write_text(folder / f"{name}.csv", text)


def write_figures(folder: Path, content: Content) -> None:
    """Draw the figures of the page as PNG files into a folder.

    Raises:
        UserError: the folder cannot be written.
    """
    measured = content.measured
    draw_curves(folder / "pr_curves.png", measured.results, content.params.evaluate.iou_threshold)
    figures = {"score_curves": _score_curves(measured), "confusion": _confusion(measured), "error_types": _errors(measured)}
    if content.logs:
        figures["training"] = training_figure(content.logs)
    for name, figure in figures.items():
        with atomic_path(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _measures(rows: list[Row]) -> str:
    table = []
    for row in rows:
        ap = [value for rule in RULES for value in (row.ap[rule], *row.intervals[rule])]
        rates = (row.at_best.precision, row.at_best.recall, row.at_best.f1)
        table.append((text_cell(row.name), row.objects, row.detections, *ap, *rates, row.best_f1, row.best_score))
    ap_columns = [f"AP_{rule}{end}" for rule in RULES for end in ("", "_from", "_to")]
    columns = ["class", "objects", "detections", *ap_columns, "precision", "recall", "F1", "best_F1", "best_score"]
    return _csv(table, columns)


def _csv(rows: list[tuple], columns: list[str]) -> str:
    return pd.DataFrame(rows, columns=columns).to_csv(index=False, float_format="%.6f")


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _score_curves(measured: Measured) -> Figure:
    figure = _figure(9, 3.2)
    mean = mean_score_curve(measured.results)
    curves = [score_curve(result) for result in measured.results if result.objects]
    for axes, key, title in zip(figure.subplots(1, 3), ("f1", "precision", "recall"), ("F1", "Precision", "Recall")):
        for curve in curves:
            axes.plot(curve.scores, getattr(curve, key), color="0.75", lw=0.8)
        axes.plot(mean.scores, getattr(mean, key), color="C0", lw=2, marker="o", ms=1)
        axes.axvline(measured.score, color="0.3", lw=0.8, ls="--")
        axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="Score", ylabel=title)
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


def _errors(measured: Measured) -> Figure:
    figure, kinds = _figure(6, 2.8), error_kinds(measured)[::-1]
    axes = figure.subplots()
    axes.barh([kind.title for kind in kinds], [max(kind.cost, 0) if kind.cost == kind.cost else 0 for kind in kinds])
    axes.set_xlabel("Cost in mAP (area)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
