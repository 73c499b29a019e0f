"""Box arithmetic, written once for NumPy arrays and tensors of torch and TensorFlow.

Boxes are (..., 4) xyxy in pixels with continuous coordinates: width = x2 - x1. Deltas are (..., 4) (dx, dy, dw, dh)
relative to a reference box (an anchor or a proposal). The order of operations is fixed: the same float32 input gives
the same bits, on which the ties of the anchor labels depend.
"""

import math
import sys
from typing import Any

import numpy as np

# A delta beyond this would enlarge a box by more than 1000/16, the bound that Detectron introduced.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: Any) -> Any:
    """Return the areas (...,) of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(boxes_a: Any, boxes_b: Any) -> Any:
    """Return the intersection over union of every pair.

    Args:
        boxes_a: (..., A, 4).
        boxes_b: (..., B, 4).

    Returns:
        (..., A, B), 0 where two boxes only touch or are both empty.
    """
    xp = _namespace(boxes_a)
    a, b = boxes_a[..., :, None, :], boxes_b[..., None, :, :]
    width = xp.minimum(a[..., 2], b[..., 2]) - xp.maximum(a[..., 0], b[..., 0])
    height = xp.minimum(a[..., 3], b[..., 3]) - xp.maximum(a[..., 1], b[..., 1])
    intersection = _limit(width, 0) * _limit(height, 0)
    union = area(a) + area(b) - intersection
    return intersection / _limit(union, 1e-7)


def encode(boxes: Any, references: Any) -> Any:
    """Return the deltas (..., 4) that turn references (..., 4) into boxes (..., 4) (Faster R-CNN, equation 2)."""
    xp = _namespace(boxes)
    x, y, width, height = _centers_and_sizes(boxes)
    ref_x, ref_y, ref_width, ref_height = _centers_and_sizes(references)
    columns = [
        (x - ref_x) / ref_width,
        (y - ref_y) / ref_height,
        xp.log(width / ref_width),
        xp.log(height / ref_height),
    ]
    return xp.stack(columns, -1)


def decode(deltas: Any, references: Any, clamp: bool = True) -> Any:
    """Return the boxes (..., 4) that deltas (..., 4) make of references (..., 4); the inverse of `encode`.

    Args:
        clamp: limit dw and dh to `MAX_LOG_SCALE`, so that no early prediction overflows.
    """
    xp = _namespace(deltas)
    ref_x, ref_y, ref_width, ref_height = _centers_and_sizes(references)
    log_width, log_height = deltas[..., 2], deltas[..., 3]
    if clamp:
        log_width, log_height = _limit(log_width, high=MAX_LOG_SCALE), _limit(log_height, high=MAX_LOG_SCALE)
    x = deltas[..., 0] * ref_width + ref_x
    y = deltas[..., 1] * ref_height + ref_y
    half_width = 0.5 * (xp.exp(log_width) * ref_width)
    half_height = 0.5 * (xp.exp(log_height) * ref_height)
    return xp.stack([x - half_width, y - half_height, x + half_width, y + half_height], -1)


def clip(boxes: Any, width: Any, height: Any) -> Any:
    """Return boxes (..., 4) with every corner moved into the image [0, width] x [0, height]."""
    xp = _namespace(boxes)
    columns = [
        _limit(boxes[..., 0], 0, width),
        _limit(boxes[..., 1], 0, height),
        _limit(boxes[..., 2], 0, width),
        _limit(boxes[..., 3], 0, height),
    ]
    return xp.stack(columns, -1)


def flip(boxes: Any, width: float) -> Any:
    """Return boxes (..., 4) mirrored left to right in an image of the given width."""
    xp = _namespace(boxes)
    return xp.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], -1)


def _centers_and_sizes(boxes: Any) -> tuple[Any, Any, Any, Any]:
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + 0.5 * width, boxes[..., 1] + 0.5 * height, width, height


def _limit(values: Any, low: Any = None, high: Any = None) -> Any:
    if hasattr(values, "clip"):
        return values.clip(min=low, max=high)
    xp = _namespace(values)  # TensorFlow's tensors have no methods
    values = values if low is None else xp.maximum(values, low)
    return values if high is None else xp.minimum(values, high)


def _namespace(array: Any) -> Any:
    """Return the module (NumPy, torch or, for TensorFlow, Keras's) whose functions take the array."""
    if isinstance(array, np.ndarray):
        return np
    return sys.modules["torch"] if hasattr(array, "clip") else sys.modules["keras"].ops
