"""What kinds of errors a detector makes, and how much AP each costs: TIDE (Bolya et al., ECCV 2020).

A detection that is wrong has the first type that applies, in the order of tidecv; difficult objects are left out:
    localization    its IoU with an object of its class lies between `background_iou` and the threshold,
    classification  its IoU with an object of another class exceeds the threshold,
    duplicate       its IoU with an object of its class exceeds the threshold: another detection found that,
    background      its IoU with every object is at most `background_iou`,
    both            the rest: a wrong class, and a box that is not good enough.
An object is missed if no detection finds it and no error of localization or classification is about it.

An error's cost is the mAP (area) without errors of its type, minus the mAP. Without errors of localization, or of
classification, the detection that of all with such an error about an object that nothing found has the highest score
finds it; the others, and all detections with other errors, are removed. Missed objects are no longer to be found.
"""

from dataclasses import dataclass
from functools import partial

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
            objects that nothing found. NaN if no class has objects.
    """

    types: np.ndarray
    objects: np.ndarray
    missed: np.ndarray
    cost: dict[str, float]


def error_types(
    objects: Objects, detections: SplitDetections, iou_threshold: float = 0.5, background_iou: float = 0.1
) -> ErrorTypes:
    """Sort the errors of the detections; what the AP ignores is none."""
    matching = match_split(objects, detections, iou_threshold)
    types, about = _types(objects, matching, iou_threshold, background_iou)
    correctable = np.isin(types, (CLASSIFICATION, LOCALIZATION)) & np.append(matching.missed, False)[about]
    rows = matching.order[correctable[matching.order]]
    fixing = np.zeros(len(types), bool)
    fixing[rows[first_of_each(about[rows])]] = True
    missed = matching.missed.copy()
    missed[about[rows]] = False
    errors = ErrorTypes(types, about, missed, {})
    errors.cost.update(_costs(objects, detections, matching, errors, fixing))
    return errors


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
    objects: Objects, detections: SplitDetections, matching: SplitMatching, errors: ErrorTypes, fixing: np.ndarray
) -> dict[str, float]:
    """Return the costs; `fixing` (D,) bool are the detections that find an object once their error is mended."""
    order = matching.order[matching.verdict[matching.order] != IGNORED]
    labels, found, fixing = detections.labels[order], matching.verdict[order] == FOUND, fixing[order]
    count = partial(np.bincount, minlength=len(detections.class_names) + 1)
    totals, unfound, missed = (
        count(objects.labels[chosen]) for chosen in (~objects.difficult, matching.missed, errors.missed)
    )
    rate = partial(_mean_ap, present=np.flatnonzero(totals))
    new_labels = np.where(fixing, np.append(objects.labels, 0)[errors.objects[order]], labels)
    mended = {}
    for index, name in enumerate(TYPES[:MISSED]):
        fixed = (errors.types[order] == index) & fixing
        kept = fixed | (errors.types[order] != index)
        mended[name] = rate(np.where(fixed, new_labels, labels)[kept], (found | fixed)[kept], totals)
    mended["missed"] = rate(labels, found, totals - missed)
    mended["false_positive"] = rate(labels[found], found[found], totals)
    mended["false_negative"] = rate(labels, found, totals - unfound)
    before = rate(labels, found, totals)
    return {name: value - before for name, value in mended.items()}


def _mean_ap(labels: np.ndarray, found: np.ndarray, totals: np.ndarray, present: np.ndarray) -> float:
    """Return the mean AP (area) of the classes present; one without objects to find has 1 without detections, else 0.

    Args:
        labels: (D,) of detections by descending score; found: (D,) bool.
        totals: (C + 1,) number of objects of each label.
    """
    values = []
    for label in present:
        own = found[labels == label]
        if totals[label]:
            curve = precision_recall(np.where(own, FOUND, WRONG), int(totals[label]))
            values.append(average_precision(*curve, "area"))
        else:
            values.append(float(not len(own)))
    return float(np.mean(values)) if values else np.nan
