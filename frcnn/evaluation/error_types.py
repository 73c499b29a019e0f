"""What kinds of errors a detector makes, and how much AP each costs: TIDE (Bolya et al., ECCV 2020).

A detection that is wrong has one type, the first that applies of
    localization    its IoU with an object of its class lies between `background_iou` and the threshold,
    classification  its IoU with an object of another class exceeds the threshold,
    duplicate       its IoU with an object of its class exceeds the threshold: another detection found that,
    background      its IoU with every object is at most `background_iou`,
    both            the rest: a wrong class, and a box that is not good enough.
An object is missed if no detection finds it and no error of localization or classification is about it.

An error's cost is the mAP (area) without errors of its type, minus the mAP. Without errors of localization and
classification the detection of the highest score that is about an object that nothing found finds it; those of lower
score, and all detections with other errors, are removed. Missed objects are taken from those to be found. As in tidecv,
whose order of the types this is; the matching and the AP are those of frcnn.evaluation.voc_ap.
"""

from dataclasses import dataclass

import numpy as np

from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, IGNORED, WRONG, first_of_each
from frcnn.evaluation.split_matching import SplitMatching, best_objects, match_split
from frcnn.evaluation.voc_ap import Objects, average_precision, precision_recall

TYPES = ("classification", "localization", "both", "duplicate", "background", "missed")
CLASSIFICATION, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(TYPES))
NONE = -1


@dataclass(frozen=True)
class ErrorTypes:
    """The errors of a split's detections.

    Attributes:
        types: (D,) int8, index in `TYPES`, NONE of what is right or ignored.
        objects: (D,) the object that a classification or localization error, or a duplicate, is about, else -1.
        missed: (O,) bool.
        cost: mAP that each of `TYPES` costs; and `false_positive`, all wrong detections, and `false_negative`, all
            objects that nothing found, taken from those to be found. NaN if no class has objects.
    """

    types: np.ndarray
    objects: np.ndarray
    missed: np.ndarray
    cost: dict[str, float]


@dataclass(frozen=True)
class _Judged:
    """Detections by descending score, labels (D,) and found (D,) bool, and the number of objects of C classes."""

    labels: np.ndarray
    found: np.ndarray
    totals: np.ndarray


def error_types(
    objects: Objects, detections: SplitDetections, iou_threshold: float = 0.5, background_iou: float = 0.1
) -> ErrorTypes:
    """Sort the errors of the detections; difficult objects are left out, and detections that the AP ignores."""
    matching = match_split(objects, detections, iou_threshold)
    types, about = _types(objects, matching, iou_threshold, background_iou)
    correctable = np.isin(types, (CLASSIFICATION, LOCALIZATION)) & np.append(matching.missed, False)[about]
    rows = matching.order[correctable[matching.order]]
    fixing = np.zeros(len(types), bool)
    fixing[rows[first_of_each(about[rows])]] = True
    missed = matching.missed.copy()
    missed[about[rows]] = False
    cost = _costs(objects, detections, matching, (types, about, fixing), missed)
    return ErrorTypes(types, about, missed, cost)


def _types(
    objects: Objects, matching: SplitMatching, iou_threshold: float, background_iou: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the type of each detection's error, and the object that it is about."""
    pairs, count = matching.pairs, len(matching.order)
    easy = ~objects.difficult[pairs.object]
    own, own_iou = best_objects(pairs.where(easy & matching.same_class), count)
    other, other_iou = best_objects(pairs.where(easy & ~matching.same_class), count)
    conditions = [
        matching.verdict != WRONG,
        (own_iou >= background_iou) & (own_iou <= iou_threshold),
        other_iou > iou_threshold,
        own_iou > iou_threshold,
        np.maximum(own_iou, other_iou) <= background_iou,
    ]
    types = np.select(conditions, [NONE, LOCALIZATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH).astype(np.int8)
    about = np.select([np.isin(types, (LOCALIZATION, DUPLICATE)), types == CLASSIFICATION], [own, other], -1)
    return types, about


def _costs(
    objects: Objects,
    detections: SplitDetections,
    matching: SplitMatching,
    errors: tuple[np.ndarray, np.ndarray, np.ndarray],
    missed: np.ndarray,
) -> dict[str, float]:
    classes, order = len(detections.class_names), matching.order[matching.verdict[matching.order] != IGNORED]
    types, about, fixing = (values[order] for values in errors)
    labels, found = detections.labels[order], matching.verdict[order] == FOUND
    totals = _count(objects.labels[~objects.difficult], classes)
    unfound, hopeless = (_count(objects.labels[which], classes) for which in (matching.missed, missed))
    present = totals > 0
    before = _mean_ap(_Judged(labels, found, totals), present)
    fixed = {}
    for type_, name in enumerate(TYPES[:MISSED]):
        fix = fixing & (types == type_)
        kept = fix | (types != type_)
        new_labels = np.where(fix, np.append(objects.labels, 0)[about], labels)
        fixed[name] = _Judged(new_labels[kept], (found | fix)[kept], totals)
    fixed["missed"] = _Judged(labels, found, totals - hopeless)
    fixed["false_positive"] = _Judged(labels[found], found[found], totals)
    fixed["false_negative"] = _Judged(labels, found, totals - unfound)
    return {name: _mean_ap(judged, present) - before for name, judged in fixed.items()}


def _count(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels - 1, minlength=classes)


def _mean_ap(judged: _Judged, present: np.ndarray) -> float:
    """Return the mean over the classes present; one without objects to be found has 1 without detections, else 0."""
    by_class = np.argsort(judged.labels, kind="stable")
    ends = np.searchsorted(judged.labels[by_class], np.arange(1, len(present) + 2))
    values = []
    for index in np.flatnonzero(present):
        found = judged.found[by_class[ends[index] : ends[index + 1]]]
        if judged.totals[index]:
            curve = precision_recall(np.where(found, FOUND, WRONG), int(judged.totals[index]))
            values.append(average_precision(*curve, "area"))
        else:
            values.append(float(not len(found)))
    return float(np.mean(values)) if values else np.nan
