"""Cut a fixed grid of features out of the map for every RoI: RoIAlign (Mask R-CNN, section 3), RoIPool (Fast R-CNN),
or the maxima of 2 x 2 bilinear samples per bin ("crop").

Maps are (N, H, W, D). RoIAlign is two matrix products, as in `frcnn.pytorch.roi_pool`; RoIPool is in
`frcnn.keras.roi_max_pool`. No gradient reaches the RoIs.
"""

import tensorflow as tf

from frcnn.backbones import STRIDE
from frcnn.keras.roi_max_pool import roi_max_pool
from frcnn.params import RoIPool


def pool_rois(features: tf.Tensor, grids: tf.Tensor, rois: tf.Tensor, settings: RoIPool) -> tf.Tensor:
    """Return the features (N, S, size, size, D) of the RoIs of every image.

    Args:
        features: (N, H, W, D) float32, padded at the right and bottom; `grids` (N, 2) int32 are each image's own
            (rows, columns).
        rois: (N, S, 4) float32 in pixels of the resized image.
        settings: operator, size, samples per bin and axis of RoIAlign; `clip` moves the RoIs into the image's own
            grid, so that no bin lies outside it and is 0; "crop" always does.
    """
    rois = tf.stop_gradient(rois)
    cells = tf.cast(grids[:, None, ::-1], rois.dtype)  # (N, 1, 2): columns, rows
    if settings.clip or settings.op == "crop":
        # RoIPool rounds to the index of the last cell, RoIAlign ends at its edge.
        last = 1 if settings.op == "pool" else 0
        rois = tf.minimum(tf.maximum(rois, 0), tf.tile((cells - last) * STRIDE, [1, 1, 2]))
    rois /= STRIDE
    if settings.op == "pool":
        return roi_max_pool(features, grids, rois, settings.size)
    if settings.op == "crop":
        # Not tf.image.crop_and_resize: on a CPU its gradient loses additions of threads that meet in a cell.
        samples = roi_align(features, cells, rois, 2 * settings.size, 1)
        pooled = tf.nn.max_pool2d(tf.reshape(samples, [-1, *samples.shape[2:]]), 2, 2, "VALID")
        return tf.reshape(pooled, [*tf.unstack(tf.shape(samples)[:2]), *pooled.shape[1:]])
    return roi_align(features, cells, rois, settings.size, settings.sampling_ratio)


def roi_align(features: tf.Tensor, cells: tf.Tensor, rois: tf.Tensor, size: int, sampling_ratio: int) -> tf.Tensor:
    """Return RoIAlign of features (N, H, W, D) over rois (N, S, 4) in cells: (N, S, size, size, D).

    A coordinate c in cells lies at index c - 0.5 (torchvision's `aligned`).

    Args:
        cells: (N, 1, 2) float32, columns and rows of each image's own grid.
    """
    images, height, width, _ = tf.unstack(tf.shape(features))
    depth, count = features.shape[-1], tf.shape(rois)[1]
    columns = _weights(rois[..., 0], rois[..., 2], width, cells[..., 0], size, sampling_ratio)
    rows = _weights(rois[..., 1], rois[..., 3], height, cells[..., 1], size, sampling_ratio)
    # (S * size, H) @ (H, W * D), then per RoI and row of bins (size, W) @ (W, D)
    rows = tf.reshape(rows, [images, count * size, height])
    by_row = rows @ tf.reshape(features, [images, height, width * depth])
    return columns[:, :, None] @ tf.reshape(by_row, [images, count, size, width, depth])


def _weights(
    low: tf.Tensor, high: tf.Tensor, cells: tf.Tensor, own_cells: tf.Tensor, size: int, sampling_ratio: int
) -> tf.Tensor:
    """Return (N, S, size, cells): what each cell along one axis contributes to each bin."""
    samples = size * sampling_ratio
    step = (tf.range(samples, dtype=low.dtype) + 0.5) / samples
    position = low[..., None] - 0.5 + step * (high - low)[..., None]
    limit = own_cells[..., None]
    reached = tf.cast((position >= -1) & (position <= limit), low.dtype)
    position = tf.minimum(tf.maximum(position, 0), limit - 1)
    tent = tf.maximum(1 - tf.abs(position[..., None] - tf.range(tf.cast(cells, low.dtype))), 0)  # bilinear
    images, count = tf.unstack(tf.shape(low))
    return tf.reduce_mean(tf.reshape(tent * reached[..., None], [images, count, size, sampling_ratio, cells]), 3)
