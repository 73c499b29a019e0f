"""The results of an evaluation as CSV texts with 6 digits."""

import csv
import io
from collections.abc import Sequence

from frcnn.evaluation.curves import thin_curve
from frcnn.evaluation.voc_ap import RULES, ClassResult


def ap_table(results: Sequence[ClassResult], coco: Sequence[float] | None = None) -> str:
    """Return a row for each class; recall and AP of a class without objects are left empty.

    Args:
        results: of the classes in order.
        coco: COCO's AP of the same classes, for a column more.
    """
    extra = ["AP_coco"] if coco is not None else []
    rows = [["class", "objects", "detections", "recall", *(f"AP_{rule}" for rule in RULES), *extra]]
    for i, result in enumerate(results):
        values = [result.recall, *(result.ap[rule] for rule in RULES), *([coco[i]] if coco is not None else [])]
        texts = [f"{value:.6f}" if result.objects else "" for value in values]
        rows.append([result.name, str(result.objects), str(result.detections), *texts])
    return _csv(rows)


def curve_table(results: Sequence[ClassResult]) -> str:
    """Return the thinned precision-recall curve of each class that has objects, a row for each point."""
    rows = [["class", "recall", "precision", "score"]]
    for result in results:
        if result.objects:
            for i in thin_curve(result):
                point = (result.recalls[i], result.precisions[i], result.scores[i])
                rows.append([result.name, *(f"{value:.6f}" for value in point)])
    return _csv(rows)


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
