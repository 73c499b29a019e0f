"""RoIPool (Fast R-CNN, section 2.1) without a loop over RoIs.

A bin is a rectangle of cells of any size, and its maximum is that of four windows whose sides are powers of two, one
in each of its corners. The maxima over all such windows are made once an image, by doubling, and gathered for all
bins at once. Where several cells share a bin's maximum, the gradient goes to one of them, not always torchvision's.
"""

import numpy as np
import tensorflow as tf

POWERS = 2 ** np.arange(1, 16, dtype=np.int32)  # of two; no map has as many cells along an axis as the last


def roi_max_pool(features: tf.Tensor, grids: tf.Tensor, rois: tf.Tensor, size: int) -> tf.Tensor:
    """Return RoIPool of features (N, H, W, D) over rois (N, S, 4) in cells: (N, S, size, size, D); empty bins are 0.

    Args:
        grids: (N, 2) int32, rows and columns of each image's own grid.
    """
    images, height, width, depth = *tf.unstack(tf.shape(features)[:3]), features.shape[-1]
    top, bottom = _bin_edges(rois[..., 1], rois[..., 3], grids[:, :1], size)
    left, right = _bin_edges(rois[..., 0], rois[..., 2], grids[:, 1:], size)
    row_level, column_level = _level(bottom - top), _level(right - left)
    row_levels, column_levels = (tf.maximum(tf.reduce_max(level), 0) + 1 for level in (row_level, column_level))
    maxima = _running_maxima(_running_maxima(features, 1, row_levels), 3, column_levels)  # (levels, levels, N, H, W, D)

    table = column_level[..., None, :] * row_levels + row_level[..., None]  # (N, S, size, size)
    first_row = (table * images + tf.range(images)[:, None, None, None]) * height
    corners = [
        (first_row + row[..., None]) * width + column[..., None, :]
        for row in (top, bottom - 2**row_level)
        for column in (left, right - 2**column_level)
    ]
    filled = ((bottom > top)[..., None] & (right > left)[..., None, :])[..., None]
    windows = tf.gather(tf.reshape(maxima, [-1, depth]), tf.where(filled[..., 0], tf.stack(corners), 0))
    return tf.where(filled, tf.maximum(tf.maximum(windows[0], windows[1]), tf.maximum(windows[2], windows[3])), 0)


def _bin_edges(low: tf.Tensor, high: tf.Tensor, cells: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the first cell of every bin along one axis and the one after its last: (N, S, size) int32 each.

    Args:
        cells: (N, 1) int32, of each image's own grid.
    """
    start = _round(low)
    length = tf.maximum(_round(high) - start + 1, 1)
    # A quotient in float32, as in torchvision: 7 * (31 / 7) is more than 31 there. Divided in float64 first, where a
    # compiler may multiply by the inexact 1 / size instead, it still rounds to the same float32.
    edges = tf.cast(tf.cast(length, tf.float64) / size, tf.float32)[..., None] * tf.range(size + 1, dtype=tf.float32)
    first, end = tf.floor(edges[..., :-1]), tf.math.ceil(edges[..., 1:])
    return tuple(
        tf.minimum(tf.maximum(tf.cast(edge, tf.int32) + start[..., None], 0), cells[..., None]) for edge in (first, end)
    )


def _round(numbers: tf.Tensor) -> tf.Tensor:
    """Return the nearest int32, halves away from zero."""
    whole = tf.floor(tf.abs(numbers))
    whole += tf.cast(tf.abs(numbers) - whole >= 0.5, numbers.dtype)
    return tf.cast(tf.sign(numbers) * whole, tf.int32)


def _level(lengths: tf.Tensor) -> tf.Tensor:
    """Return the exponent of the largest power of two that is not more than each length; 0 for a length of 0."""
    return tf.reduce_sum(tf.cast(lengths[..., None] >= POWERS, tf.int32), -1)


def _running_maxima(maps: tf.Tensor, axis: int, levels: tf.Tensor) -> tf.Tensor:
    """Return (levels, *maps.shape): for every cell the maxima of the windows of 1, 2, 4 ... cells that begin there.

    A window that reaches beyond the end of `axis` goes on at its beginning; no bin asks for it.
    """

    def double(level: tf.Tensor, maxima: tf.Tensor, tables: tf.TensorArray) -> tuple:
        maxima = tf.maximum(maxima, tf.roll(maxima, -(2 ** (level - 1)), axis))
        return level + 1, maxima, tables.write(level, maxima)

    tables = tf.TensorArray(maps.dtype, levels, element_shape=maps.shape).write(0, maps)
    _, _, tables = tf.while_loop(lambda level, *_: level < levels, double, (1, maps, tables))
    return tables.stack()
