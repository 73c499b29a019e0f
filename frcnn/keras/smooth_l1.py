"""Smooth L1 (Fast R-CNN, equation 3), the distance of predicted from true deltas."""

import tensorflow as tf


def smooth_l1(deltas: tf.Tensor, target_deltas: tf.Tensor, sigma: float) -> tf.Tensor:
    """Return the distances (...,) of deltas (..., 4), summed over the four; quadratic below 1 / sigma^2."""
    beta = 1 / sigma**2
    difference = tf.abs(deltas - target_deltas)
    return tf.reduce_sum(tf.where(difference < beta, 0.5 * difference**2 / beta, difference - 0.5 * beta), -1)
