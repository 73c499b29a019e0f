"""Sample the minibatch of RoIs for the heads; `frcnn.pytorch.sampling` samples the same ones."""

from typing import NamedTuple

import tensorflow as tf

from frcnn import boxes
from frcnn.detector.config import ROI_DELTA_STD
from frcnn.params.training import RoITraining

UNIT = (0.0, 0.0, 1.0, 1.0)  # a box whose deltas are finite


class RoISample(NamedTuple):
    """RoIs (N, S, 4) in resized pixels, labels (N, S) int64 (padding: -1), normalized deltas (N, S, 4) of positives."""

    rois: tf.Tensor
    labels: tf.Tensor
    deltas: tf.Tensor


def sample_rois(
    proposals: tf.Tensor,
    real: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_labels: tf.Tensor,
    priorities: tf.Tensor,
    settings: RoITraining,
) -> RoISample:
    """Label the proposals and choose up to `batch_size` of every image (Fast R-CNN, section 2.3).

    The objects themselves join the proposals. Positive is an IoU of at least `positive_iou` with some object,
    background one from `background_min_iou` up to that. Up to `positive_fraction` of the batch are positive. No
    gradient flows.

    Args:
        proposals: (N, T, 4); real: (N, T) bool, False for padding.
        gt_boxes: (N, G, 4); gt_labels: (N, G) int64, padding is 0.
        priorities: (N, T + G) float32 in [0, 1), random: of the proposals and objects that qualify those of the
            highest priority are chosen.
        settings: sizes, shares and limits.
    """
    batch = settings.batch_size
    candidates = tf.stop_gradient(tf.concat([proposals, gt_boxes], 1))
    labels, deltas = label_rois(candidates, gt_boxes, gt_labels, settings.positive_iou, settings.background_min_iou)
    labels = tf.where(tf.concat([real, gt_labels > 0], 1), labels, -1)
    of_positives = tf.where(labels > 0, priorities, -1)
    rank = tf.argsort(tf.argsort(of_positives, direction="DESCENDING", stable=True))
    chosen = (labels > 0) & (rank < round(batch * settings.positive_fraction))
    priority = tf.where(chosen, 1 + priorities, tf.where(labels == 0, priorities, -1))
    size = tf.minimum(batch, tf.shape(priority)[1])
    priority, index = tf.math.top_k(priority, size)  # positives, then background
    rois, labels, deltas = (tf.gather(rows, index, batch_dims=1) for rows in (candidates, labels, deltas))
    labels = tf.where(priority >= 0, labels, -1)
    deltas = tf.where(labels[..., None] > 0, deltas, 0)
    padding = [0, batch - size]
    return RoISample(
        tf.ensure_shape(tf.pad(rois, [[0, 0], padding, [0, 0]]), [None, batch, 4]),
        tf.ensure_shape(tf.pad(labels, [[0, 0], padding], constant_values=-1), [None, batch]),
        tf.ensure_shape(tf.pad(deltas, [[0, 0], padding, [0, 0]]), [None, batch, 4]),
    )


def label_rois(
    rois: tf.Tensor, gt_boxes: tf.Tensor, gt_labels: tf.Tensor, positive_iou: float, background_min_iou: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return labels (N, R) int64 (class, 0 background, -1 neither) and deltas (N, R, 4), normalized, of positives.

    Deltas lead to the object of the highest IoU. Without objects everything is background, whatever
    `background_min_iou` is.

    Args:
        rois: (N, R, 4); gt_boxes: (N, G, 4); gt_labels: (N, G) int64, padding is 0.
    """
    # One more empty row, so that there is a best one even if G is 0.
    gt_boxes, gt_labels = tf.pad(gt_boxes, [[0, 0], [0, 1], [0, 0]]), tf.pad(gt_labels, [[0, 0], [0, 1]])
    overlaps = boxes.iou(rois, gt_boxes)
    best, objects = tf.reduce_max(overlaps, -1), tf.argmax(overlaps, -1)
    labels = tf.where(best >= positive_iou, tf.gather(gt_labels, objects, batch_dims=1), 0)
    some = tf.reduce_any(gt_labels > 0, -1, keepdims=True)
    labels = tf.where((best >= background_min_iou) | ~some, labels, -1)
    positive = (labels > 0)[..., None]
    own_boxes = tf.where(positive, tf.gather(gt_boxes, objects, batch_dims=1), UNIT)
    return labels, boxes.encode(own_boxes, tf.where(positive, rois, UNIT)) / tf.constant(ROI_DELTA_STD)
