"""Cut a fixed grid of features out of the map for every RoI: RoIAlign (Mask R-CNN, section 3), RoIPool (Fast R-CNN),
or bilinear samples and their maxima, as `tf.image.crop_and_resize` takes them.

Maps are (N, H, W, D). RoIAlign is two matrix products, as in `frcnn.pytorch.roi_pool`; RoIPool is in
`frcnn.keras.roi_max_pool`. No gradient reaches the RoIs.
"""

import tensorflow as tf

from frcnn.anchors.grid import STRIDE
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
        return roi_crop(features, grids, rois, settings.size)
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


def roi_crop(features: tf.Tensor, grids: tf.Tensor, rois: tf.Tensor, size: int) -> tf.Tensor:
    """Return for rois (N, S, 4) in cells, inside the grids, the maxima of 2 x 2 samples per bin: (N, S, size, size, D).

    The samples lie where RoIAlign has them with one sample a bin and twice the size. `crop_and_resize` cannot repeat
    the border for a sample within half a cell of it, so a border is laid around each image's own grid.
    """
    images, height, width, _ = tf.unstack(tf.shape(features))
    depth, count = features.shape[-1], tf.shape(rois)[1]
    rows = tf.minimum(tf.maximum(tf.range(-1, height + 1), 0), grids[:, :1] - 1)  # (N, H + 2)
    columns = tf.minimum(tf.maximum(tf.range(-1, width + 1), 0), grids[:, 1:] - 1)
    row = (tf.range(images)[:, None] * height + rows)[:, :, None]
    bordered = tf.gather(tf.reshape(features, [-1, depth]), row * width + columns[:, None])
    low, high = rois[..., 1::-1], rois[..., :1:-1]  # rows before columns
    edge = 0.5 + (high - low) / (4 * size)  # half a cell for the border, and to the center of the first sample
    last = tf.cast(tf.stack([height, width]) + 1, rois.dtype)
    boxes = tf.concat([(low + edge) / last, (high + 1 - edge) / last], -1)
    owner = tf.repeat(tf.range(images), count)
    samples = tf.image.crop_and_resize(bordered, tf.reshape(boxes, [-1, 4]), owner, [2 * size, 2 * size])
    return tf.reshape(tf.nn.max_pool2d(samples, 2, 2, "VALID"), [images, count, size, size, depth])
