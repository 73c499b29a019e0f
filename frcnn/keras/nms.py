"""Non-maximum suppression that keeps exactly what torchvision's does."""

import numpy as np
import tensorflow as tf


def nms(boxes: tf.Tensor, scores: tf.Tensor, threshold: float, most: int | tf.Tensor) -> tf.Tensor:
    """Return the indices (K,) int32, best first, of at most `most` boxes of which no two overlap by more.

    Of equal scores the lower index comes first. Boxes scored -inf or NaN are left out.

    Args:
        boxes: (B, 4) xyxy; scores: (B,).
        threshold: IoU, 0..1.
    """
    return tf.image.non_max_suppression(boxes, scores, most, _as_float32(threshold))


def _as_float32(threshold: float) -> np.float32:
    """Return the largest float32 that is not more; the nearest to 0.3 is, so an IoU of it would be kept."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(0))
