"""The results of an evaluation as CSV texts with 6 digits."""

from collections.abc import Sequence

import pandas as pd

from frcnn.evaluation.curves import thin_curve
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
    return table.to_csv(index=False, float_format="%.6f")


def curve_table(results: Sequence[ClassResult]) -> str:
    """Return the thinned precision-recall curve of each class that has objects, a row for each point."""
    rows = [
        (text_cell(result.name), result.recalls[i], result.precisions[i], result.scores[i])
        for result in results
        if result.objects
        for i in thin_curve(result)
    ]
    table = pd.DataFrame(rows, columns=["class", "recall", "precision", "score"])
    return table.to_csv(index=False, float_format="%.6f")
