"""Types of errors and their costs beside those of tidecv 1.0.1: PYTHONPATH=FOLDER python -m benchmarks.tide.

FOLDER: pip install --no-deps --target FOLDER tidecv==1.0.1 opencv-python-headless appdirs seaborn

tidecv differs by definition. Its AP is a mean over 101 recalls: `exact` replaces it by the area below the curve, as
here, and both are compared. A detection takes the best object that is free, here the best, if that is free: the sets
hold no objects of one class that overlap, where that is the same. It ignores by the share of the detection inside, here
by IoU: no object is difficult. An IoU of exactly the threshold is enough for it, and a class without objects counts.
"""

import numpy as np
from tidecv import TIDE, Data
from tidecv.ap import APDataObject

from benchmarks.inputs import random_detections
from frcnn.boxes import iou
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.error_types import MISSED, error_types
from frcnn.evaluation.matching import FOUND, WRONG
from frcnn.evaluation.voc_ap import Objects, average_precision, precision_recall

SETS, IMAGES, PER_IMAGE = 10, 300, 20
EXACT, BINNED = 1e-9, 0.01  # tolerances of the costs


def draw(seed: int) -> tuple[Objects, SplitDetections]:
    """Return a set whose detections have in part another class, and boxes that are shifted up to a half."""
    rng = np.random.default_rng(seed)
    objects, detections = random_detections(IMAGES, PER_IMAGE)
    same = (objects.images[:, None] == objects.images) & (objects.labels[:, None] == objects.labels)
    apart = ~np.tril(same & (iou(objects.boxes, objects.boxes) > 0), -1).any(1)
    objects = Objects(*(values[apart] for values in objects))._replace(difficult=np.zeros(apart.sum(), bool))
    sides = np.tile(detections.boxes[:, 2:] - detections.boxes[:, :2], 2)
    detections.boxes[:] += sides * rng.uniform(-0.25, 0.25, sides.shape).astype(np.float32)
    other = rng.random(len(sides)) < 0.2
    detections.labels[other] = rng.integers(1, len(detections.class_names) + 1, other.sum())
    detections.scores[:] = rng.permutation(len(sides)) / len(sides)
    return objects, detections


def theirs(objects: Objects, detections: SplitDetections) -> tuple[np.ndarray, np.ndarray]:
    """Return the type of each detection's error, -1 without, and the costs, both in the order that we have, too."""
    truth, found = Data("truth"), Data("found")
    for image in range(len(detections.image_ids)):
        truth.add_image(image, str(image))
    for row in zip(objects.images, objects.labels, xywh(objects.boxes), strict=True):
        truth.add_ground_truth(*row)
    for row in zip(detections.image_index, detections.labels, detections.scores, xywh(detections.boxes), strict=True):
        found.add_detection(*row)
    tide = TIDE()
    run, types = tide.evaluate(truth, found), np.full(len(detections.scores), -1)
    for index, errors in enumerate(list(run.error_dict.values())[:MISSED]):
        types[[each.pred["_id"] for each in errors]] = index
    costs = [*tide.get_main_errors()["found"].values(), *tide.get_special_errors()["found"].values()]
    return types, np.array(costs) / 100


def xywh(boxes: np.ndarray) -> np.ndarray:
    first, last = np.split(boxes.astype(np.float64), 2, axis=1)
    return np.concatenate([first, last - first], 1)


def exact(curve: APDataObject) -> float:
    """Return the AP by area, in percent, in place of tidecv's."""
    points = sorted(curve.data_points.values(), key=lambda point: -point[0])
    verdict = np.array([FOUND if point[1] else WRONG for point in points], int)
    return 100 * average_precision(*precision_recall(verdict, curve.num_gt_positives), "area")


if __name__ == "__main__":
    for get_ap, tolerance in ((APDataObject.get_ap, BINNED), (exact, EXACT)):
        APDataObject.get_ap = get_ap
        for seed in range(SETS):
            objects, detections = draw(seed)
            ours, (types, cost) = error_types(objects, detections), theirs(objects, detections)
            assert (types == ours.types).all()
            difference = np.abs(np.array(list(ours.cost.values())) - cost).max()
            print(f"{get_ap.__name__}, set {seed}: costs differ by at most {difference:.1e}", flush=True)
            assert difference <= tolerance, (ours.cost, cost)
