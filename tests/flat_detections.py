"""Detections of the evaluation's tests as flat rows in any order, and the evaluation of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from frcnn.arrays import offsets
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.coco import CocoResult, evaluate_coco_arrays
from frcnn.evaluation.voc_ap import ClassResult, Objects, evaluate_arrays


class Scored(NamedTuple):
    """Detections on many images, in any order: images (D,) index, boxes (D, 4), scores (D,), labels (D,) 1..C."""

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


def objects_of(*rows: tuple) -> Objects:
    """Return objects of rows (image, box, label, difficult)."""
    return Objects(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.bool_),
    )


def scored_of(*rows: tuple) -> Scored:
    """Return detections of rows (image, box, score, label)."""
    return Scored(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float32),
        np.array([row[3] for row in rows], np.int64),
    )


def by_image(scored: Scored, class_names: Sequence[str], images: int | None = None) -> SplitDetections:
    """Return detections in the order of their images, as files hold them."""
    order = np.argsort(scored.images, kind="stable")
    counts = np.bincount(scored.images.astype(np.int64), minlength=images or 0)
    ids, names = [str(index) for index in range(len(counts))], list(class_names)
    return SplitDetections(ids, names, offsets(counts), scored.boxes[order], scored.scores[order], scored.labels[order])


def judge(objects: Objects, scored: Scored, class_names: Sequence[str], iou_threshold: float) -> list[ClassResult]:
    return evaluate_arrays(objects, by_image(scored, class_names), iou_threshold)


def judge_coco(objects: Objects, scored: Scored, images: int, classes: int) -> CocoResult:
    return evaluate_coco_arrays(objects, by_image(scored, [str(label) for label in range(classes)], images))
