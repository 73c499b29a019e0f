"""Stage `evaluate`: judge the detections on a split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import options

if TYPE_CHECKING:
    from frcnn.evaluation.coco import CocoResult

CURVES = Path("data/pr_curves.png")
TITLES = {"AP_voc07": "AP\n11-point", "AP_area": "AP\narea", "AP_reference": "AP\nreference", "AP_coco": "AP\nCOCO"}


def run(
    dataset: options.Dataset = options.DATASET,
    detections: options.Detections = options.DETECTIONS,
    metrics: Annotated[Path, typer.Option("--metrics", metavar="FOLDER", help="Metrics to write.")] = options.METRICS,
    curves: Annotated[Path, typer.Option("--curves", metavar="FILE", help="Picture of the curves (PNG).")] = CURVES,
    split: options.Split = None,
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
    instances: options.Instances = None,
) -> None:
    """Read the dataset and the detections on its test split, write average precision, curves, and what is confused."""
    import json

    import numpy as np

    from frcnn.data.voc.dataset import VocDataset
    from frcnn.detections.coco_results import is_results, remark_on_corners
    from frcnn.detections.hdf5 import read_with_annotations
    from frcnn.evaluation.curves import draw_curves
    from frcnn.evaluation.judgement import judge
    from frcnn.evaluation.tables import ap_table, confusion_table, curve_table, score_curve_table
    from frcnn.evaluation.voc_ap import mean_ap
    from frcnn.files import locked, write_text
    from frcnn.fonts import remark_on_letters
    from frcnn.params import load_params
    from frcnn.unchanged import watch

    from .terminal.console import say

    params = load_params(params_file, overrides or ())
    inputs = [dataset, detections, *([instances] if instances else [])]
    require_unchanged = watch("evaluate", params_file, overrides or (), params, inputs)
    found, annotations = read_with_annotations(
        detections, VocDataset(dataset), split or params.splits.test, params.data.box_convention, instances
    )
    judged = judge(annotations, found, params.evaluate)
    results, summary, coco = judged.results, judged.summary, judged.coco
    with locked(metrics / ".evaluate.lock", wait=True):  # so that all files are of one run
        require_unchanged()
        write_text(metrics / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        write_text(metrics / "ap_per_class.csv", ap_table(results, coco.ap if coco else None))
        write_text(metrics / "pr_curves.csv", curve_table(results))
        write_text(metrics / "score_curves.csv", score_curve_table(results))
        write_text(metrics / "confusion.csv", confusion_table(judged.confused, found.class_names))
        draw_curves(curves, results, params.evaluate.iou_threshold)
        print_table(metrics)
    if coco:
        _say_coco(coco)
    sizes = np.array([(each.width, each.height) for each in annotations])
    if is_results(detections) and (remark := remark_on_corners(found, sizes)):
        say(f"{detections}: {remark}")
    if remark := remark_on_letters(found.class_names):
        say(f"{curves}: {remark}")
    counts = ", ".join(f"{summary[what]} {what}" for what in ("images", "objects", "detections"))
    means = f"mAP {mean_ap(results, 'voc07'):.3f} (11-point)"
    if "score" in (best := summary.get("best_F1", {})):
        means += f", best F1 {best['F1']:.3f} at {best['score']:.3f}"
    say(f"{metrics / 'summary.json'}: {counts}, {means}; curves in {curves}")


def _say_coco(coco: "CocoResult") -> None:
    from .terminal.console import say

    for kind in ("AP", "AR"):
        values = [f"{name} {value:.3f}" for name, value in coco.metrics.items() if name.startswith(kind)]
        say(f"COCO: {', '.join(values) or f'no object, no {kind}'}")


def print_table(metrics: Path) -> None:
    """Print ap_per_class.csv of a metrics folder, with the means over the classes that have objects."""
    import pandas as pd
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from frcnn.evaluation.tables import name_in_cell

    from .terminal.console import cell, console

    rows = pd.read_csv(
        metrics / "ap_per_class.csv",
        dtype={"class": str},
        keep_default_na=False,  # a class may be called "NA"
        na_values={column: [""] for column in ("recall", *TITLES)},
    )
    measures = [key for key in ("recall", *TITLES) if key in rows]
    table = Table(show_footer=True, box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)  # 80 columns suffice
    table.add_column("class", footer="mean")
    for count in ("objects", "detections"):
        table.add_column(count, footer=str(rows[count].sum()), justify="right")
    for key in measures:
        table.add_column(TITLES.get(key, key), footer=_number(rows[key].mean()), justify="right")
    for row in rows.to_dict("records"):
        numbers = [_number(row[key]) for key in measures]
        table.add_row(cell(name_in_cell(row["class"])), str(row["objects"]), str(row["detections"]), *numbers)
    console.print(table)


def _number(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"  # NaN is not equal to itself
