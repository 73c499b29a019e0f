"""How much average precision varies with the pictures: the bootstrap (Efron 1979) over the pictures of a split.

Each draw takes as many pictures as there are, with replacement; a picture that is drawn twice counts twice with all its
objects and detections. Detections are matched once, because matching is within a picture.
"""

import numpy as np

from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import FOUND, match_reference
from frcnn.evaluation.split_matching import by_class, match_split
from frcnn.evaluation.voc_ap import ELEVEN_POINTS, RULES, Objects

TOGETHER = 50  # draws, so that arrays stay small


def bootstrap(
    objects: Objects, detections: SplitDetections, iou_threshold: float, draws: int = 1000, seed: int = 1
) -> np.ndarray:
    """Return the AP of each draw, class and rule, (draws, C, 3) float64 in the order of `RULES`.

    NaN where no object of a class that is not difficult was drawn. The same seed and number of pictures give the same
    draws.
    """
    images, classes = len(detections.image_ids), len(detections.class_names)
    matching, easy = match_split(objects, detections, iou_threshold), ~objects.difficult
    of_class = matching.pairs.where(matching.same_class)
    reference = match_reference(of_class, len(matching.order), objects.difficult, iou_threshold)
    everything = by_class(matching.order, detections)
    counts = np.zeros((images, classes))
    np.add.at(counts, (objects.images[easy], objects.labels[easy] - 1), 1)
    owner, rng = detections.image_index, np.random.default_rng(seed)
    values = np.full((draws, classes, len(RULES)), np.nan)
    for start in range(0, draws, TOGETHER):
        weights = np.array([_draw(images, rng) for _ in range(min(TOGETHER, draws - start))])
        totals = weights.astype(np.float64) @ counts
        for index in range(classes):
            (eleven, exact), (_, by_reference) = (
                _weighted_ap(weights[:, owner[rows]], verdict[rows] == FOUND, totals[:, index])
                for verdict, rows in ((matching.verdict, matching.counted[index]), (reference, everything[index]))
            )
            values[start : start + TOGETHER, index] = np.stack([eleven, exact, by_reference], 1)
    return values


def interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Return the percentile interval over draws, (2, ...) of values (draws, ...), without NaN; all NaN: NaN."""
    flat = values.reshape(len(values), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    some = ~np.isnan(flat).all(0)
    ends[:, some] = np.nanquantile(flat[:, some], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return ends.reshape(2, *values.shape[1:])


def _draw(images: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each picture is drawn, (N,)."""
    return np.bincount(rng.integers(images, size=images), minlength=images) if images else np.zeros(0, np.int64)


def _weighted_ap(weights: np.ndarray, found: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the AP of one class by 11 points and by area, each (B,).

    Args:
        weights: (B, D) how often each detection, by descending score, counts.
        found: (D,) bool.
        totals: (B,) number of objects.
    """
    # Copies of one detection follow each other. Precision is highest where an object is found: only these points count.
    counted, hits = np.cumsum(weights, 1)[:, found], weights[:, found]
    right = np.cumsum(hits, 1)
    precision = right / np.maximum(counted, 1)
    objects = np.where(totals, totals, np.nan)
    envelope = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    exact = (hits * envelope).sum(1) / objects
    recalls, envelope = right / objects[:, None], np.pad(envelope, ((0, 0), (0, 1)))
    first = np.stack([np.count_nonzero(recalls < point, 1) for point in ELEVEN_POINTS], 1)
    eleven = np.take_along_axis(envelope, first, 1).mean(1)
    return np.where(totals, eleven, np.nan), exact
