"""Average precision of detections by three rules: VOC2007 (11 points), all-point, and the reference implementation's.

The first two are those of the VOC development kit, which ignores difficult objects; the third is all-point on another
matching (frcnn.evaluation.matching). A class without any object that is not difficult has no average precision: it is
NaN here and counts in no mean. Boxes are continuous, where plain IoU is what the devkit computes with its `+ 1` on
inclusive pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, IGNORED, match_devkit, match_reference, pair

Rule = Literal["voc07", "area", "reference"]
RULES: tuple[Rule, ...] = ("voc07", "area", "reference")
# As py-faster-rcnn has it, rounding included: a recall of 0.3 does not reach the fourth point, 0.30000000000000004.
ELEVEN_POINTS = np.arange(0.0, 1.1, 0.1)


class Objects(NamedTuple):
    """Ground truth of many images: images (O,) index, boxes (O, 4), labels (O,) 1..C, difficult (O,) bool."""

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


class _Scored(NamedTuple):
    """Detections of one class: images (D,) index, boxes (D, 4), scores (D,)."""

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class ClassResult:
    """What one class achieved.

    The curve (recalls, precisions, scores) follows the devkit's matching, by descending score, without the
    detections that are ignored because they lie on difficult objects.
    """

    name: str
    objects: int  # not difficult
    detections: int  # all, the ignored ones too
    found: int  # objects with a detection, at any score
    ap: dict[Rule, float]
    recalls: np.ndarray
    precisions: np.ndarray
    scores: np.ndarray

    @property
    def recall(self) -> float:
        """Recall when every detection counts; NaN without objects."""
        return self.found / self.objects if self.objects else float("nan")


def evaluate(annotations: Sequence[Annotation], detections: SplitDetections, iou_threshold: float) -> list[ClassResult]:
    """Judge the detections on a split.

    Args:
        annotations: ground truth of the images of `detections`, in their order.
        detections: of the split.
        iou_threshold: a detection finds an object if their IoU is greater.

    Returns:
        One result per class, in the order of `detections.class_names`.
    """
    return evaluate_arrays(objects_of(annotations, detections), detections, iou_threshold)


def objects_of(annotations: Sequence[Annotation], detections: SplitDetections) -> Objects:
    """Return the ground truth of the images of `detections`, whose order the annotations must have.

    Raises:
        ValueError: they have another order, or are of other images.
    """
    if [annotation.image_id for annotation in annotations] != detections.image_ids:
        raise ValueError("annotations and detections are not of the same images in the same order")
    return join_objects(annotations)


def join_objects(annotations: Sequence[Annotation]) -> Objects:
    """Return the objects of many images as flat arrays, in the order given."""
    counts = [len(annotation.labels) for annotation in annotations]
    return Objects(
        np.repeat(np.arange(len(counts)), counts),
        np.concatenate([np.empty((0, 4), np.float32), *(annotation.boxes for annotation in annotations)]),
        np.concatenate([np.empty(0, np.int64), *(annotation.labels for annotation in annotations)]),
        np.concatenate([np.empty(0, np.bool_), *(annotation.difficult for annotation in annotations)]),
    )


def evaluate_arrays(objects: Objects, detections: SplitDetections, iou_threshold: float) -> list[ClassResult]:
    """Judge detections against objects of the same images; one result per class, label 1 first."""
    by_score = np.lexsort((-detections.scores, detections.labels))
    by_image = np.lexsort((objects.images, objects.labels))
    scored = _Scored(*(values[by_score] for values in (detections.image_index, detections.boxes, detections.scores)))
    objects = Objects(*(values[by_image] for values in objects))
    labels = np.arange(1, len(detections.class_names) + 2)
    detection_ends = np.searchsorted(detections.labels[by_score], labels)
    object_ends = np.searchsorted(objects.labels, labels)
    results = []
    for i, name in enumerate(detections.class_names):
        of_class = _Scored(*(values[detection_ends[i] : detection_ends[i + 1]] for values in scored))
        targets = Objects(*(values[object_ends[i] : object_ends[i + 1]] for values in objects))
        results.append(_evaluate_class(name, targets, of_class, iou_threshold))
    return results


def mean_ap(results: Sequence[ClassResult], rule: Rule) -> float:
    """Return the mean over the classes that have objects; NaN if none has."""
    values = [result.ap[rule] for result in results if result.objects]
    return float(np.mean(values)) if values else float("nan")


def summarize(results: Sequence[ClassResult], images: int) -> dict[str, Any]:
    """Return the metrics as nested plain numbers with 6 digits; what is not a number is left out.

    `recall` counts objects of all classes together, at any score.
    """
    objects = sum(result.objects for result in results)
    summary: dict[str, Any] = {f"mAP_{rule}": round(mean_ap(results, rule), 6) for rule in RULES if objects}
    if objects:
        summary["recall"] = round(sum(result.found for result in results) / objects, 6)
    summary["images"] = images
    summary["objects"] = objects
    summary["detections"] = sum(result.detections for result in results)
    summary["AP_voc07"] = {result.name: round(result.ap["voc07"], 6) for result in results if result.objects}
    return summary


def precision_recall(verdict: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Return recall and precision (D,) after each of D detections, by descending score, judged FOUND or WRONG.

    Args:
        verdict: (D,).
        objects: how many there are to find; with 0 the recall is 0.
    """
    found = np.cumsum(verdict == FOUND)
    return found / max(objects, 1), found / np.arange(1, len(found) + 1)


def average_precision(recalls: np.ndarray, precisions: np.ndarray, rule: Rule) -> float:
    """Return the area below a precision-recall curve.

    Args:
        recalls: (n,) ascending.
        precisions: (n,).
        rule: `voc07`: mean of the highest precision at recall >= 0, 0.1, ... 1; otherwise the exact area below the
            precision made non-increasing from the right.
    """
    envelope = np.append(np.maximum.accumulate(precisions[::-1])[::-1], 0.0)
    if rule == "voc07":
        return float(envelope[np.searchsorted(recalls, ELEVEN_POINTS)].mean())
    return float(np.sum(np.diff(recalls, prepend=0.0) * envelope[:-1]))


def _evaluate_class(name: str, objects: Objects, detections: _Scored, iou_threshold: float) -> ClassResult:
    """Judge one class: objects in the order of images, detections by descending score."""
    count, total = len(detections.scores), int(np.count_nonzero(~objects.difficult))
    pairs = pair(detections.images, detections.boxes, objects.images, objects.boxes)
    verdict = match_devkit(pairs, count, objects.difficult, iou_threshold)
    counted = verdict != IGNORED
    devkit = precision_recall(verdict[counted], total)
    reference = precision_recall(match_reference(pairs, count, objects.difficult, iou_threshold), total)
    curves = {"voc07": devkit, "area": devkit, "reference": reference}
    ap: dict[Rule, float] = {rule: average_precision(*curves[rule], rule) if total else np.nan for rule in RULES}
    found = int(np.count_nonzero(verdict == FOUND))
    return ClassResult(name, total, count, found, ap, *devkit, detections.scores[counted])
