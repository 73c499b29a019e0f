"""Which pictures cost the most average precision, and which of their errors tell the most."""

from typing import NamedTuple

import numpy as np

from frcnn.boxes import area
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, WRONG
from frcnn.evaluation.split_matching import best_objects, match_split
from frcnn.evaluation.voc_ap import Objects

TOGETHER = 2_000_000  # numbers in an array


class TellingErrors(NamedTuple):
    """Indices of errors, the most telling first.

    Attributes:
        false_alarms: wrong detections by descending score.
        missed: objects that nothing found, the largest first.
        near_misses: wrong detections of the right class, IoU from `near` to the threshold with an object that nothing
            found, by descending score.
    """

    false_alarms: np.ndarray
    missed: np.ndarray
    near_misses: np.ndarray


def telling_errors(
    objects: Objects, detections: SplitDetections, iou_threshold: float, near: float = 0.3
) -> TellingErrors:
    """Return the errors that are not about difficult objects."""
    matching = match_split(objects, detections, iou_threshold)
    wrong = matching.order[matching.verdict[matching.order] == WRONG]
    missed = np.flatnonzero(matching.missed)
    candidates = matching.pairs.where(matching.same_class & matching.missed[matching.pairs.object])
    _, ious = best_objects(candidates, len(matching.order))
    return TellingErrors(
        wrong,
        missed[np.argsort(-area(objects.boxes[missed]), kind="stable")],
        wrong[(ious[wrong] >= near) & (ious[wrong] <= iou_threshold)],
    )


def ap_lost(objects: Objects, detections: SplitDetections, iou_threshold: float) -> np.ndarray:
    """Return by how much the mAP (area) would rise without the errors of each picture alone, (N,) float64.

    Its false alarms are removed, and its missed objects found with the highest score of all.
    """
    matching = match_split(objects, detections, iou_threshold)
    owners, lost, classes = detections.image_index, np.zeros(len(detections.image_ids)), 0
    for label, rows in enumerate(matching.counted, 1):
        total = np.count_nonzero(~objects.difficult & (objects.labels == label))
        missed = np.bincount(objects.images[matching.missed & (objects.labels == label)], minlength=len(lost))
        if total:
            classes += 1
            lost += _gains(owners[rows], matching.verdict[rows] == FOUND, missed) / total
    return lost / max(classes, 1)


def _gains(owners: np.ndarray, found: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Return the gain of each picture in one class, (N,), in objects: AP times their number.

    Args:
        owners: (D,) picture of each detection, by descending score.
        found: (D,) bool.
        missed: (N,) number of missed objects of each picture.
    """
    finds = np.flatnonzero(found)
    alarms = np.flatnonzero(~found)
    before = np.searchsorted(finds, alarms)  # an alarm lowers the precision at this find and at all that follow
    alarms_before = np.searchsorted(alarms, finds)
    gains = np.zeros(len(missed))
    affected = np.union1d(np.flatnonzero(missed), owners[alarms])
    baseline = _summed_precision(np.zeros((1, 1)), alarms_before[None])[0]
    size = max(1, TOGETHER // (len(finds) + 1))
    for start in range(0, len(affected), size):
        chosen = affected[start : start + size]
        own = np.flatnonzero(np.isin(owners[alarms], chosen))
        place = np.searchsorted(chosen, owners[alarms[own]]) * (len(finds) + 1) + before[own]
        counts = np.bincount(place, minlength=len(chosen) * (len(finds) + 1)).reshape(len(chosen), -1)
        removed = np.cumsum(counts, 1)[:, :-1]
        extra = missed[chosen, None]
        gains[chosen] = extra[:, 0] + _summed_precision(extra, alarms_before - removed) - baseline
    return gains


def _summed_precision(extra: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Return the sum of the highest precisions from each find on, (B,).

    Args:
        extra: (B, 1) finds before all others.
        alarms: (B, F) false alarms before each find.
    """
    right = extra + np.arange(1, alarms.shape[1] + 1)
    precision = right / (right + alarms)
    return np.maximum.accumulate(precision[:, ::-1], 1).sum(1)
