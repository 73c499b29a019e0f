"""Time and memory of COCO's measures, ours and those of pycocotools in turns: python -m benchmarks.coco_measures.

Each runs in a process of its own, whose peak memory is given, on 5,000 pictures with 100 detections each, 7 objects
and 80 classes, as COCO has them. The two must agree.
"""

import io
import os
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from multiprocessing import get_context
from typing import Any

import numpy as np

from frcnn.allocation import peak_memory
from frcnn.arrays import offsets
from frcnn.boxes import area
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.coco import METRICS, CocoResult, evaluate_coco_arrays
from frcnn.evaluation.voc_ap import Objects

PICTURES, OBJECTS, DETECTIONS, CLASSES = 5_000, 7, 100, 80
Figures = tuple[float, float, float, CocoResult]  # seconds, seconds of the processor, MiB


def by_pycocotools(objects: Objects, detections: SplitDetections) -> CocoResult:
    """Return what frcnn.evaluation.coco.evaluate_coco_arrays does, unrounded, computed by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    class Judge(COCOeval):  # type: ignore[misc]  # pycocotools has no types
        """COCO's evaluation, with difficult objects ignored at their IoU."""

        def evaluateImg(self, imgId: int, catId: int, aRng: list[float], maxDet: int) -> dict[str, Any] | None:
            # Marked only now: every IoU is computed before the first image is judged, so that they are over the union.
            for annotation in self._gts[imgId, catId]:
                annotation["iscrowd"] = annotation["ignore"] = annotation["difficult"]
            return super().evaluateImg(imgId, catId, aRng, maxDet)

    def index(images: np.ndarray, boxes: np.ndarray, labels: np.ndarray, key: str, values: Sequence[float]) -> COCO:
        boxes = np.asarray(boxes, np.float64)
        bboxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).tolist()
        columns = zip(images.tolist(), labels.tolist(), bboxes, area(boxes).tolist(), values, strict=True)
        keys = ("image_id", "category_id", "bbox", "area", key)
        rows = enumerate(columns, 1)  # ids from 1: pycocotools reads a match with 0 as none
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(detections.image_ids))],
            "categories": [{"id": label} for label, _ in enumerate(detections.class_names, 1)],
            "annotations": [{"id": i, "iscrowd": 0, **dict(zip(keys, row, strict=True))} for i, row in rows],
        }
        coco.createIndex()
        return coco

    found = detections.image_index, detections.boxes, detections.labels, "score", detections.scores.tolist()
    with redirect_stdout(io.StringIO()):
        judge = Judge(index(*objects[:3], "difficult", objects.difficult.astype(int).tolist()), index(*found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ap = judge.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
    metrics = {name: float(value) for name, value in zip(METRICS, judge.stats, strict=True) if value >= 0}
    return CocoResult(metrics, np.where(ap < 0, np.nan, ap).tolist())


def make_case(seed: int = 1) -> tuple[Objects, SplitDetections]:
    """Draw objects, a twentieth difficult, and detections: one in seven is a shifted copy of an object."""
    draw = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corners, sides = draw.uniform(0, 500, (count, 2)), np.exp(draw.uniform(2, 5.5, (count, 2)))
        return np.concatenate([corners, corners + sides], 1).astype(np.float32)

    count = PICTURES * OBJECTS
    objects = Objects(
        np.repeat(np.arange(PICTURES), OBJECTS), boxes(count), draw.integers(1, CLASSES + 1, count),
        draw.random(count) < 0.05,
    )  # fmt: skip
    found, labels = boxes(PICTURES * DETECTIONS), draw.integers(1, CLASSES + 1, PICTURES * DETECTIONS)
    for copy in range(2):
        places = (np.arange(PICTURES)[:, None] * DETECTIONS + np.arange(OBJECTS) + copy * OBJECTS).ravel()
        sides = np.tile(objects.boxes[:, 2:] - objects.boxes[:, :2], 2)
        found[places], labels[places] = objects.boxes + draw.normal(0, 0.05, sides.shape) * sides, objects.labels
    scores = draw.random(len(found), np.float32)
    ids, names = [str(i) for i in range(PICTURES)], [str(i) for i in range(CLASSES)]
    return objects, SplitDetections(ids, names, offsets(np.full(PICTURES, DETECTIONS)), found, scores, labels)


def measure(name: str) -> Figures:
    """Judge the case; return what it took, and the result."""
    case = make_case()
    start, used = time.monotonic(), time.process_time()
    result = {"ours": evaluate_coco_arrays, "pycocotools": by_pycocotools}[name](*case)
    return time.monotonic() - start, time.process_time() - used, peak_memory(), result


def main() -> None:
    """Print a table."""
    print(f"{PICTURES:,} pictures, {DETECTIONS} detections each, {CLASSES} classes, {os.cpu_count()} cores")
    print(f"{'':<12}{'seconds':>9}{'of processor':>14}{'MiB':>7}{'AP':>10}")
    results = []
    for name in ("ours", "pycocotools") * 2:
        with get_context("spawn").Pool(1) as pool:
            seconds, used, memory, result = pool.apply(measure, (name,))
        print(f"{name:<12}{seconds:>9.1f}{used:>14.1f}{memory:>7.0f}{result.metrics['AP']:>10.6f}", flush=True)
        results.append(result)
    for result in results[1:]:
        np.testing.assert_allclose(result.ap, results[0].ap, atol=1e-12)
        assert {name: round(value, 6) for name, value in result.metrics.items()} == results[0].metrics


if __name__ == "__main__":
    main()
