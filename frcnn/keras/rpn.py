"""Region proposal network (Faster R-CNN, section 3.1): a score and four deltas for every anchor.

Shapes: N images, (H, W) cells of the padded feature map, K anchors per cell, A = H * W * K anchors in the order of
frcnn.anchors.grid.
"""

import keras
import tensorflow as tf

from frcnn import boxes
from frcnn.keras.layers import Conv
from frcnn.keras.nms import nms
from frcnn.keras.smooth_l1 import smooth_l1
from frcnn.params import Model
from frcnn.params.training import Postprocessing, RPNTraining


class RPNHead(keras.layers.Layer):
    """Features (N, H, W, D) to objectness logits (N, A) and deltas (N, A, 4)."""

    def __init__(self, channels: int, anchors_per_cell: int) -> None:
        """Build the 3x3 convolution and its two 1x1 sisters; weights N(0, 0.01^2), biases 0."""
        super().__init__(name="rpn")
        self.conv = Conv(channels, channels, 3, "rpn.conv", std=0.01)
        self.objectness = Conv(channels, anchors_per_cell, 1, "rpn.objectness", std=0.01)
        self.deltas = Conv(channels, 4 * anchors_per_cell, 1, "rpn.deltas", std=0.01)
        self.built = True

    def call(self, features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits and deltas; channel k is anchor k, delta channel 4k + (0..3) its dx, dy, dw, dh."""
        hidden = tf.nn.relu(self.conv(features))
        images = tf.shape(features)[0]
        logits = tf.reshape(self.objectness(hidden), [images, -1])
        return logits, tf.reshape(self.deltas(hidden), [images, -1, 4])


def rpn_losses(
    logits: tf.Tensor, deltas: tf.Tensor, index: tf.Tensor, labels: tf.Tensor, target_deltas: tf.Tensor, sigma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss of objectness and of boxes, each (N,), of the sampled anchors of every image.

    Binary cross-entropy and smooth L1 on the positives, both summed and divided by the number sampled.

    Args:
        logits: (N, A); deltas: (N, A, 4).
        index: (N, S) int64, the sampled anchors; labels: (N, S) int64 in {1, 0, -1}, padding is -1.
        target_deltas: (N, S, 4), used where labels are 1.
        sigma: smooth L1 is quadratic below 1 / sigma^2.
    """
    sampled_logits = tf.gather(logits, index, batch_dims=1)
    sampled_deltas = tf.gather(deltas, index, batch_dims=1)
    sampled, positive = labels >= 0, labels == 1
    count = tf.maximum(tf.reduce_sum(tf.cast(sampled, tf.float32), 1), 1)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(positive, tf.float32), sampled_logits)
    distance = smooth_l1(sampled_deltas, tf.where(positive[..., None], target_deltas, 0), sigma)
    loss_cls = tf.reduce_sum(tf.where(sampled, entropy, 0), 1) / count
    loss_box = tf.reduce_sum(tf.where(positive, distance, 0), 1) / count
    return loss_cls, loss_box


def generate_proposals(
    logits: tf.Tensor,
    deltas: tf.Tensor,
    anchors: tf.Tensor,
    sizes: tf.Tensor,
    allowed: tf.Tensor,
    settings: RPNTraining | Postprocessing,
    model: Model,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn the RPN's output into proposals (N, T, 4) float32 xyxy in resized pixels, best first.

    The best `pre_nms_topk` anchors are decoded and clipped to the image, boxes with a side below
    `model.proposals.min_size` pixels dropped, the rest reduced by NMS to `post_nms_topk`. Proposals carry no gradient.

    Args:
        logits: (N, A); deltas: (N, A, 4); anchors: (A, 4) of the padded map.
        sizes: (N, 2) int32, (width, height) of each image in resized pixels, without padding.
        allowed: (N, A) bool, see `frcnn.anchors.grid.proposing_anchors`; the others become no proposals.
        settings: how many to keep.
        model: what counts as a proposal.

    Returns:
        Proposals, T = post_nms_topk, and which are real, (N, T) bool; padding is 0.
    """
    count = settings.post_nms_topk

    def of_image(image: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        scores, own_deltas, size = image
        # Of equals the first comes first.
        best, order = tf.math.top_k(scores, tf.minimum(settings.pre_nms_topk, tf.size(scores)))
        candidates = boxes.decode(tf.gather(own_deltas, order), tf.gather(anchors, order), model.delta_clamp)
        candidates = boxes.clip(candidates, *tf.unstack(tf.cast(size, tf.float32)))
        sides = candidates[:, 2:] - candidates[:, :2]
        big = tf.reduce_all((sides >= model.proposals.min_size) & (sides > 0), 1) & tf.math.is_finite(best)
        kept = nms(candidates, tf.where(big, best, -float("inf")), model.proposals.nms_threshold, count)
        missing = count - tf.size(kept)
        return tf.pad(tf.gather(candidates, kept), [[0, missing], [0, 0]]), tf.range(count) < tf.size(kept)

    scores = tf.where(allowed, tf.stop_gradient(logits), -float("inf"))
    signature = (tf.TensorSpec((count, 4)), tf.TensorSpec((count,), tf.bool))
    return tf.map_fn(of_image, (scores, tf.stop_gradient(deltas), sizes), fn_output_signature=signature)
