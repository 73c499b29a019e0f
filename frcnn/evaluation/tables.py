"""The results of an evaluation as CSV texts with 6 digits."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from frcnn.evaluation.confusion import BACKGROUND, Confusion
from frcnn.evaluation.curves import thin_curve
from frcnn.evaluation.score_curves import score_curve
from frcnn.evaluation.voc_ap import RULES, ClassResult

FORMULA = tuple("=+-@'")  # with these a spreadsheet takes a text for a formula; the last is what prevents it


def text_cell(name: str) -> str:
    """Return a name as a table holds it: after an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{name}" if name.startswith(FORMULA) else name


def name_in_cell(cell: str) -> str:
    """Return the name that `text_cell` was given."""
    return cell.removeprefix("'")


def ap_table(results: Sequence[ClassResult], coco: Sequence[float] | None = None) -> str:
    """Return a row for each class; recall and AP of a class without objects are left empty.

    Args:
        results: of the classes in order.
        coco: COCO's AP of the same classes, for a column more.
    """
    table = pd.DataFrame(
        [
            (text_cell(each.name), each.objects, each.detections, each.recall, *(each.ap[rule] for rule in RULES))
            for each in results
        ],
        columns=["class", "objects", "detections", "recall", *(f"AP_{rule}" for rule in RULES)],
    )
    if coco is not None:
        table["AP_coco"] = list(coco)
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6f")


def curve_table(results: Sequence[ClassResult]) -> str:
    """Return the thinned precision-recall curve of each class that has objects, a row for each point."""
    rows = [
        (text_cell(result.name), result.recalls[i], result.precisions[i], result.scores[i])
        for result in results
        if result.objects
        for i in thin_curve(result)
    ]
    table = pd.DataFrame(rows, columns=["class", "recall", "precision", "score"])
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6f")


def score_curve_table(results: Sequence[ClassResult]) -> str:
    """Return precision, recall and F1 of each class that has objects, a row for each score."""
    rows = [
        (text_cell(result.name), *rates)
        for result in results
        if result.objects
        for curve in [score_curve(result)]
        for rates in zip(curve.scores, curve.precision, curve.recall, curve.f1, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["class", "score", "precision", "recall", "F1"])
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6f")


def confusion_table(matrix: Confusion, class_names: Sequence[str]) -> str:
    """Return a row for each event, in the order of truth and detected: DVC's plot counts them."""
    names = [*map(text_cell, class_names), BACKGROUND]
    order = np.lexsort((matrix.detected, matrix.truth))
    cells = np.array(names, object)[np.stack([matrix.truth[order], matrix.detected[order]], 1)]
    return pd.DataFrame(cells, columns=["truth", "detected"]).to_csv(index=False, lineterminator="\n")
