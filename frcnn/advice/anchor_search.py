"""Search for sizes and ratios of anchors that cover the objects of a split.

The best IoU of an object is the highest over all shapes, so the IoUs of each shape are computed once. The search starts
from clusters of the objects' sizes and shapes, and goes to the best neighbor among round values until none is better.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

from frcnn.advice.coverage import Objects, best_ious
from frcnn.advice.figures import coverage_of, round_span
from frcnn.params import Anchors

RATIOS = (0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0)  # height / width
PER_SHAPE = 0.01  # of the score: what one more anchor per cell must gain
MOST_VALUES, PER_CELL = 5, 9  # sizes, and ratios; anchors per cell, or as many as there are
SAMPLE = 1000  # objects that are searched with
# Of the sizes of a pyramid that has a list for each map; of equally good ones the nearest to 1 is taken.
SCALES = [2 ** (step / 4) for step in sorted(range(-12, 13), key=abs)]
Numbers = tuple[float, ...]


def score(ious: np.ndarray) -> float:
    """Return how well objects are covered, 0 to 3: the shares that reach 0.5 and 0.7, and the mean IoU."""
    return sum(coverage_of(ious)) + float(ious.mean())


def fit_anchors(objects: Objects, backbone: str, anchors: Anchors) -> Anchors:
    """Return the anchors with the sizes and ratios that cover the objects, at least one, best.

    Few are tried, see `MOST_VALUES` and `PER_CELL`. Where each feature map has its own list of sizes, the lists are
    scaled by a common factor.
    """
    chosen = np.random.default_rng(0).permutation(len(objects.boxes))[:SAMPLE]
    sample = Objects(objects.boxes[chosen], objects.labels[chosen], objects.images[chosen], objects.sizes)
    search = _scale_lists if len(anchors.anchor_sizes) > 1 else _descend
    return search(sample, backbone, anchors)


def _scale_lists(objects: Objects, backbone: str, anchors: Anchors) -> Anchors:
    scaled = [scale_sizes(anchors, factor) for factor in SCALES]
    return max(scaled, key=lambda each: score(best_ious(objects, backbone, each)))


def scale_sizes(anchors: Anchors, factor: float) -> Anchors:
    """Return the anchors with all sizes multiplied by a factor and rounded."""
    sizes = tuple(tuple(round_span(size * factor) for size in sizes) for sizes in anchors.anchor_sizes)
    return anchors.model_copy(update={"anchor_sizes": sizes})


def _descend(objects: Objects, backbone: str, anchors: Anchors) -> Anchors:
    def with_shapes(sizes: Numbers, ratios: Numbers) -> Anchors:
        return anchors.model_copy(update={"anchor_sizes": (sizes,), "anchor_ratios": ratios})

    @cache
    def ious_of(size: float, ratio: float) -> np.ndarray:
        return best_ious(objects, backbone, with_shapes((size,), (ratio,)), always=False)

    @cache
    def value(sizes: Numbers, ratios: Numbers) -> float:
        every = np.max([ious_of(size, ratio) for size in sizes for ratio in ratios], axis=0)
        return score(every) - PER_SHAPE * len(sizes) * len(ratios)

    sides = objects.sides
    spans, ratios = np.log(objects.spans), np.log(sides[:, 1] / sides[:, 0])
    best: tuple[Numbers, Numbers] = (anchors.anchor_sizes[0], anchors.anchor_ratios)
    for count in range(1, MOST_VALUES + 1):
        for ratio_count in range(1, min(MOST_VALUES, max(PER_CELL, anchors.per_cell) // count) + 1):
            current = (_clusters(spans, count, round_span), _clusters(ratios, ratio_count, _round_ratio))
            while value(*(better := max(_neighbors(*current), key=lambda each: value(*each)))) > value(*current):
                current = better
            best = max(best, current, key=lambda each: value(*each))
    return with_shapes(*best)


def _clusters(values: np.ndarray, count: int, rounded: Callable[[float], float]) -> Numbers:
    """Return the centers of so many clusters (k-means in one dimension, from quantiles), rounded, each once."""
    centers = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(20):
        own = np.abs(values[:, None] - centers).argmin(1)
        centers = np.array([values[own == i].mean() if (own == i).any() else centers[i] for i in range(count)])
    return tuple(sorted({rounded(float(np.exp(center))) for center in centers}))


def _round_ratio(ratio: float) -> float:
    return min(RATIOS, key=lambda each: abs(np.log(each / ratio)))


def _neighbors(sizes: Numbers, ratios: Numbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield what differs by one size or one ratio, to the next round value up or down."""
    for own in sizes:
        for other in (round_span(own * 1.07), round_span(own * 0.93)):
            yield tuple(sorted({*sizes, other} - {own})) or sizes, ratios
    for own in ratios:
        near = RATIOS.index(_round_ratio(own))
        for other in RATIOS[max(0, near - 1) : near + 2]:
            yield sizes, tuple(sorted({*ratios, other} - {own})) or ratios
