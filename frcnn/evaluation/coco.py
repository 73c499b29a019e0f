"""COCO's average precision and recall, computed by faster-coco-eval from the same objects and detections.

AP is the mean over the IoU thresholds 0.5, 0.55, ... 0.95 and over the classes that have objects, with precision read
at 101 recalls; at most 100 detections of a class and image count. A detection takes the best object that is still free
at IoU >= the threshold, where VOC's devkit calls it wrong if its best object is taken. The numbers are those of
pycocotools.

Difficult objects are ignored as the devkit does: a detection whose IoU with one reaches the threshold counts neither
for nor against, however many do, unless it finds an object that is not difficult. COCO has no such flag. Its `iscrowd`
marks a region of many objects and divides the intersection by the detection's area instead of the union, so that any
fragment of a difficult object would be forgiven at every threshold; `ignore` is overwritten by `iscrowd`; and an object
ignored for its area forgives one detection only. Hence `_Judge`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster, mask

from frcnn.boxes import area
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.voc_ap import Objects, objects_of

# What COCO's tools call `stats`, in their order. Sizes are areas of boxes in original pixels: below 32^2, 96^2, above.
# AR_1, AR_10: with so many detections of a class and image.
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
           "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")  # fmt: skip
KEYS = ("precision", "recall")  # of what faster-coco-eval computes


@dataclass(frozen=True)
class CocoResult:
    """Metrics by name with 6 digits, without those that no object defines; AP of each class, NaN without objects."""

    metrics: dict[str, float]
    ap: list[float]


def evaluate_coco(annotations: Sequence[Annotation], detections: SplitDetections) -> CocoResult:
    """Judge the detections on a split; arguments as of frcnn.evaluation.voc_ap.evaluate."""
    return evaluate_coco_arrays(objects_of(annotations, detections), detections)


def evaluate_coco_arrays(objects: Objects, detections: SplitDetections) -> CocoResult:
    """Judge detections against objects of the same images."""
    # One class at a time: together they take memory for every pair of image and class, however few have a box.
    judged = {label: _judge_class(label, objects, detections) for label in np.unique(objects.labels).tolist()}
    ap = np.full(len(detections.class_names), np.nan)
    if not judged:
        return CocoResult({}, ap.tolist())
    for label, figures in judged.items():
        # (thresholds, recalls, class, areas, limits of detections): all areas, 100 detections. -1: no objects.
        precision = figures["precision"][:, :, 0, 0, -1]
        ap[label - 1] = precision.mean() if precision.min() >= 0 else np.nan
    judge = _Judge(iouType="bbox")
    judge.eval = {key: np.concatenate([each[key] for each in judged.values()], axis=-3) for key in KEYS}
    judge.summarize()
    metrics = {name: round(float(value), 6) for name, value in zip(METRICS, judge.stats, strict=True) if value >= 0}
    return CocoResult(metrics, ap.tolist())


class _Judge(COCOeval_faster):  # type: ignore[misc]  # faster-coco-eval has no types
    """COCO's evaluation, with difficult objects, marked as crowds, ignored at their IoU."""

    def computeIoU(self, imgId: int, catId: int) -> np.ndarray:
        found = sorted(self.dt_dataset.get(imgId, catId), key=lambda each: -each["score"])[: self.params.maxDets[-1]]
        objects = self.gt_dataset.get(imgId, catId)
        return mask.iou([each["bbox"] for each in found], [each["bbox"] for each in objects], [0] * len(objects))


def _judge_class(label: int, objects: Objects, detections: SplitDetections) -> dict[str, np.ndarray]:
    """Return precision and recall of a class, judged in the images that have objects or detections of it."""
    wanted, shown = objects.labels == label, detections.labels == label
    truth = _index(objects.images[wanted], objects.boxes[wanted], "iscrowd", objects.difficult[wanted].astype(int))
    found = _index(detections.image_index[shown], detections.boxes[shown], "score", detections.scores[shown])
    truth.imgs |= found.imgs
    judge = _Judge(truth, found, "bbox")
    judge.evaluate()
    judge.accumulate()
    return {key: judge.eval[key] for key in KEYS}


def _index(images: np.ndarray, boxes: np.ndarray, key: str, values: np.ndarray) -> COCO:
    """Return boxes (K, 4) xyxy in images (K,), with values (K,) of a key, as COCO's annotations of one class."""
    boxes = np.asarray(boxes, np.float64)
    bboxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    columns = (images.tolist(), bboxes.tolist(), area(boxes).tolist(), values.tolist())
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image} for image in np.unique(images).tolist()],
        "categories": [{"id": 1}],
        "annotations": [  # ids from 1: a match with 0 means none
            {"id": i, "category_id": 1, **dict(zip(("image_id", "bbox", "area", key), row, strict=True))}
            for i, row in enumerate(zip(*columns, strict=True), 1)
        ],
    }
    coco.createIndex()
    return coco
