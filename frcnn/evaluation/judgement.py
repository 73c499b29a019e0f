"""Judge the detections on a split by all measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.confusion import Confusion, confusion
from frcnn.evaluation.score_curves import best_f1, mean_score_curve
from frcnn.evaluation.voc_ap import ClassResult, evaluate_arrays, objects_of, summarize
from frcnn.params import Evaluate

if TYPE_CHECKING:
    from frcnn.evaluation.coco import CocoResult


@dataclass(frozen=True)
class Judgement:
    """What evaluation finds: by class, as metrics/summary.json has it, what is confused, and by COCO's rules."""

    results: list[ClassResult]
    summary: dict[str, Any]
    confused: Confusion
    coco: "CocoResult | None"


def judge(annotations: Sequence[Annotation], found: SplitDetections, settings: Evaluate) -> Judgement:
    """Judge detections against the objects of the same images, in the same order."""
    objects = objects_of(annotations, found)
    results = evaluate_arrays(objects, found, settings.iou_threshold)
    summary = summarize(results, len(annotations))
    if best := best_f1(results):
        summary["best_F1"] = best
    confused = confusion(objects, found, mean_score_curve(results).best_score, settings.iou_threshold)
    coco = None
    if settings.coco:
        from frcnn.evaluation.coco import evaluate_coco

        coco = evaluate_coco(annotations, found)
        summary["COCO"] = coco.metrics
    return Judgement(results, summary, confused, coco)
