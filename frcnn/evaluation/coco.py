"""COCO's average precision and recall, computed by pycocotools from the same objects and detections.

AP is the mean over the IoU thresholds 0.5, 0.55, ... 0.95 and over the classes that have objects, with precision read
at 101 recalls; at most 100 detections of a class and image count. A detection takes the best object that is still free
at IoU >= the threshold, where VOC's devkit calls it wrong if its best object is taken.

Difficult objects are ignored as the devkit does: a detection whose IoU with one reaches the threshold counts neither
for nor against, however many do, unless it finds an object that is not difficult. pycocotools has no such flag. Its
`iscrowd` marks a region of many objects and divides the intersection by the detection's area instead of the union, so
that any fragment of a difficult object would be forgiven at every threshold; `ignore` is overwritten by `iscrowd`; and
an object ignored for its area forgives one detection only. Hence `_Judge`.
"""

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from frcnn.boxes import area
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.voc_ap import Objects, objects_of

# What pycocotools calls `stats`, in its order. Sizes are areas of boxes in original pixels: below 32^2, 96^2, above.
# AR_1, AR_10: with so many detections of a class and image.
METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
           "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")  # fmt: skip


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
    images, classes = len(detections.image_ids), len(detections.class_names)
    difficult = [{"difficult": int(flag)} for flag in objects.difficult]
    scores = [{"score": float(score)} for score in detections.scores]
    with redirect_stdout(io.StringIO()):  # pycocotools prints its progress and a table
        truth = _index(objects.images, objects.boxes, objects.labels, difficult, images, classes)
        found = _index(detections.image_index, detections.boxes, detections.labels, scores, images, classes)
        judge = _Judge(truth, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    metrics = {name: round(float(value), 6) for name, value in zip(METRICS, judge.stats, strict=True) if value >= 0}
    # (thresholds, recalls, classes, areas, limits of detections): all areas, 100 detections. -1: no objects.
    precision = judge.eval["precision"][:, :, :, 0, -1]
    ap = [float(of_class.mean()) if of_class.min() >= 0 else np.nan for of_class in np.moveaxis(precision, 2, 0)]
    return CocoResult(metrics, ap)


class _Judge(COCOeval):  # type: ignore[misc]  # pycocotools has no types
    """COCO's evaluation, with difficult objects ignored at their IoU."""

    def evaluateImg(self, imgId: int, catId: int, aRng: list[float], maxDet: int) -> dict[str, Any] | None:
        # Marked only now: every IoU is computed before the first image is judged, so that they are over the union.
        for annotation in self._gts[imgId, catId]:
            annotation["iscrowd"] = annotation["ignore"] = annotation["difficult"]
        return super().evaluateImg(imgId, catId, aRng, maxDet)


def _index(
    image_indices: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    extras: Sequence[Mapping[str, float]],
    images: int,
    classes: int,
) -> COCO:
    """Return boxes (K, 4) xyxy with what else is known of each as pycocotools' annotations."""
    boxes = np.asarray(boxes, np.float64)
    bboxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    columns = (image_indices.tolist(), labels.tolist(), bboxes.tolist(), area(boxes).tolist())
    keys = ("image_id", "category_id", "bbox", "area")
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": label} for label in range(1, classes + 1)],
        "annotations": [  # ids from 1: pycocotools reads a match with 0 as none
            {"id": i, "iscrowd": 0, **dict(zip(keys, row, strict=True)), **extra}
            for i, (*row, extra) in enumerate(zip(*columns, extras, strict=True), 1)
        ],
    }
    coco.createIndex()
    return coco
