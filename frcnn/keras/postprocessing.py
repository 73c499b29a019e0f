"""From class scores and deltas to final detections (Fast R-CNN, section 2.4): decode, threshold, NMS per class."""

from typing import NamedTuple

import tensorflow as tf

from frcnn import boxes
from frcnn.detector.config import ROI_DELTA_STD
from frcnn.keras.nms import nms
from frcnn.params.training import Postprocessing


class PaddedDetections(NamedTuple):
    """Boxes (..., D, 4) in resized pixels, scores (..., D), labels (..., D) int64 in 1..C, padding is 0; best first."""

    boxes: tf.Tensor
    scores: tf.Tensor
    labels: tf.Tensor


def select_detections(
    rois: tf.Tensor,
    class_logits: tf.Tensor,
    deltas: tf.Tensor,
    limit: tf.Tensor,
    settings: Postprocessing,
    delta_clamp: bool,
) -> PaddedDetections:
    """Return one image's detections, best first, without padding.

    Args:
        rois: (R, 4); class_logits: (R, C + 1); deltas: (R, C, 4), normalized.
        limit: (2,) float32, largest x and y of a box, in resized pixels.
    """
    scores = tf.nn.softmax(class_logits)[:, 1:]
    decoded = boxes.decode(deltas * tf.constant(ROI_DELTA_STD), rois[:, None], delta_clamp)
    decoded = boxes.clip(decoded, limit[0], limit[1])
    place = tf.where(scores > settings.score_threshold)
    candidates, best, labels = tf.gather_nd(decoded, place), tf.gather_nd(scores, place), place[:, 1] + 1
    solid = tf.reduce_all(candidates[:, 2:] > candidates[:, :2], 1)
    # Boxes of different classes are moved apart; as in torchvision, in whose float32 the IoU then is.
    offsets = tf.cast(labels, tf.float32) * (tf.reduce_max(tf.boolean_mask(candidates, solid)) + 1)
    most = settings.max_detections or tf.size(best)
    kept = nms(candidates + offsets[:, None], tf.where(solid, best, -float("inf")), settings.nms_threshold, most)
    return PaddedDetections(tf.gather(candidates, kept), tf.gather(best, kept), tf.gather(labels, kept))


def pad(found: PaddedDetections, count: int | tf.Tensor) -> PaddedDetections:
    """Return `count` rows, of which those added are 0."""
    rows = [0, count - tf.size(found.labels)]
    return PaddedDetections(
        tf.pad(found.boxes, [rows, [0, 0]]), tf.pad(found.scores, [rows]), tf.pad(found.labels, [rows])
    )
