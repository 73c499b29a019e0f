"""Class and box of every RoI (Fast R-CNN): the two output layers and their losses.

Shapes: R RoIs, C classes without background, V channels of the head.
"""

import keras
import tensorflow as tf

from frcnn.keras.layers import Dense
from frcnn.keras.smooth_l1 import smooth_l1


class RoIPredictor(keras.layers.Layer):
    """Vectors (R, V) to class logits (R, C + 1), background first, and deltas (R, C, 4)."""

    def __init__(self, channels: int, classes: int) -> None:
        """Build both layers; weights N(0, 0.01^2) and N(0, 0.001^2), biases 0."""
        super().__init__(name="predictor")
        self.classes = Dense(channels, classes + 1, "predictor.classes", std=0.01)
        self.deltas = Dense(channels, 4 * classes, "predictor.deltas", std=0.001)
        self._class_count = classes
        self.built = True

    def call(self, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits and deltas; class c (1..C) owns row c - 1 of the deltas, background none."""
        return self.classes(vectors), tf.reshape(self.deltas(vectors), [-1, self._class_count, 4])


def roi_losses(
    class_logits: tf.Tensor, deltas: tf.Tensor, labels: tf.Tensor, target_deltas: tf.Tensor, sigma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss of classes and of boxes, each (N,), of the sampled RoIs of every image.

    Cross-entropy, and smooth L1 of the true class's deltas on the positives, summed and divided by the number sampled.

    Args:
        class_logits: (N, S, C + 1); deltas: (N, S, C, 4).
        labels: (N, S) int64, padding is -1; target_deltas: (N, S, 4), normalized, used where labels are positive.
    """
    sampled, positive = labels >= 0, labels > 0
    count = tf.maximum(tf.reduce_sum(tf.cast(sampled, tf.float32), 1), 1)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), class_logits)
    own_deltas = tf.gather(deltas, tf.maximum(labels - 1, 0), batch_dims=2)
    distance = smooth_l1(own_deltas, tf.where(positive[..., None], target_deltas, 0), sigma)
    loss_cls = tf.reduce_sum(tf.where(sampled, entropy, 0), 1) / count
    loss_box = tf.reduce_sum(tf.where(positive, distance, 0), 1) / count
    return loss_cls, loss_box
