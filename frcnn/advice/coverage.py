"""How well anchors cover objects: the highest IoU that each object has with an anchor that takes part in training.

On a grid it needs no search among the anchors: of each shape, the one with the nearest center overlaps an object most,
along each axis by itself. G objects, N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.anchors.grid import FeatureMaps, anchor_shapes, feature_maps
from frcnn.data.resizing.sizes import box_scale, resized_size
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Anchors, Data

ROUNDING = 1e-9  # cells, of quotients that are whole numbers


@dataclass(frozen=True)
class Objects:
    """The objects that a split trains on.

    Attributes:
        boxes: (G, 4) float32 xyxy, resized pixels.
        labels: (G,) int64, 1..C.
        images: (G,) int64, the image of each.
        sizes: (N, 2) int64, (width, height) of each image in resized pixels.
    """

    boxes: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    sizes: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """Width and height (G, 2) float64."""
        return (self.boxes[:, 2:] - self.boxes[:, :2]).astype(np.float64)

    @property
    def spans(self) -> np.ndarray:
        """Square root of the area (G,) float64."""
        return np.sqrt(self.sides.prod(1))


def resize_objects(annotations: Sequence[Annotation], data: Data) -> Objects:
    """Return the objects of a split as training sees them; difficult ones take part if `data` says so."""
    originals, which = np.unique([(a.width, a.height) for a in annotations], axis=0, return_inverse=True)
    pairs = [(int(width), int(height)) for width, height in originals]
    sizes, scales = (np.array([make(pair, data) for pair in pairs]) for make in (resized_size, box_scale))
    images = np.repeat(np.arange(len(annotations)), [len(a.labels) for a in annotations])
    boxes, labels, difficult = (
        np.concatenate([getattr(a, name) for a in annotations]) for name in ("boxes", "labels", "difficult")
    )
    keep = ~difficult | data.train_difficult
    resized = (boxes * scales[which[images]]).astype(np.float32)
    return Objects(resized[keep], labels[keep], images[keep], sizes[which])


def best_ious(objects: Objects, backbone: str, anchors: Anchors, always: bool = True) -> np.ndarray:
    """Return the highest IoU (G,) float64 of each object with an anchor that takes part, see `grid.valid_anchors`.

    Args:
        always: in images where no anchor qualifies all take part, as in training; else none does.
    """
    sizes, which = np.unique(objects.sizes, axis=0, return_inverse=True)
    grids = [feature_maps((int(width), int(height)), backbone, anchors) for width, height in sizes]
    shapes = np.array([anchor_shapes(anchors, level) for level in range(len(grids[0].grids))]) if grids else np.zeros(0)
    ranges = _valid_cells(sizes, grids, shapes, anchors, always)
    best, low, high = np.zeros(len(objects.boxes)), *np.split(objects.boxes.astype(np.float64), 2, axis=1)
    own = which[objects.images]
    for level, of_level in enumerate(shapes):
        strides = np.array([maps.strides[level] for maps in grids])[own]
        place = (low + high) / 2 / strides - anchors.anchor_offset
        for kind, shape in enumerate(of_level):
            first, last = (limit[own, level, kind] for limit in ranges)
            center = (np.clip(np.round(place), first, last) + anchors.anchor_offset) * strides
            overlap = np.minimum(high, center + shape / 2) - np.maximum(low, center - shape / 2)
            shared = overlap.clip(0).prod(1)
            iou = shared / ((high - low).prod(1) + shape.prod() - shared)
            np.maximum(best, iou, out=best, where=(first <= last).all(1))
    return best


def _valid_cells(
    sizes: np.ndarray, grids: list[FeatureMaps], shapes: np.ndarray, anchors: Anchors, always: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last column and row (images, maps, K, 2) of each shape's anchors that qualify.

    Where none does the first is greater than the last.
    """
    margin = np.inf if anchors.rpn_straddle_thresh is None else anchors.rpn_straddle_thresh
    strides = np.array([maps.strides for maps in grids])[:, :, None]
    cells = np.array([maps.grids for maps in grids])[:, :, None, ::-1]
    half, limit = shapes[None] / 2, sizes[:, None, None]
    first = np.ceil((half - margin) / strides - anchors.anchor_offset - ROUNDING).clip(0)
    last = np.minimum(np.floor((limit + margin - half) / strides - anchors.anchor_offset + ROUNDING), cells - 1)
    alone = ~(first <= last).all(-1).any((1, 2)) & always
    return np.where(alone[:, None, None, None], 0, first), np.where(alone[:, None, None, None], cells - 1, last)
