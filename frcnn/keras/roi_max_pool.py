"""RoIPool (Fast R-CNN, section 2.1) without a loop over RoIs.

A bin is a rectangle of cells of any size, and its maximum is that of four windows whose sides are powers of two, one
in each of its corners. The maxima over all such windows are made once an image, by doubling, and gathered for all
bins at once. A bin's gradient goes to its largest cell, as in torchvision: to the first of equals in reading order.
"""

import numpy as np
import tensorflow as tf

POWERS = 2 ** np.arange(1, 16, dtype=np.int32)  # of two; no map has as many cells along an axis as the last
LOW_HALF = 2**32 - 1  # the lower 32 bits of an int64


def roi_max_pool(features: tf.Tensor, grids: tf.Tensor, rois: tf.Tensor, size: int) -> tf.Tensor:
    """Return RoIPool of features (N, H, W, D) over rois (N, S, 4) in cells: (N, S, size, size, D); empty bins are 0.

    Args:
        grids: (N, 2) int32, rows and columns of each image's own grid.
    """
    top, bottom = _bin_edges(rois[..., 1], rois[..., 3], grids[:, :1], size)
    left, right = _bin_edges(rois[..., 0], rois[..., 2], grids[:, 1:], size)
    filled = ((bottom > top)[..., None] & (right > left)[..., None, :])[..., None]

    def pool(features: tf.Tensor) -> tuple:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            with tf.control_dependencies([upstream]):  # no sooner, beside the forward pass, which takes memory too
                keys = _bin_maxima(_keys(features), top, bottom, left, right)
            return _sum_by_cell(tf.where(filled, upstream, 0), _cells(keys), tf.shape(features))

        return tf.where(filled, _bin_maxima(features, top, bottom, left, right), 0), gradient

    return tf.custom_gradient(pool)(features)


def _bin_maxima(maps: tf.Tensor, top: tf.Tensor, bottom: tf.Tensor, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Return the maxima (N, S, size, size, D) of maps (N, H, W, D) over the bins; those of empty bins mean nothing.

    Args:
        top, bottom, left, right: (N, S, size) int32, each bin's first cell and the one after its last.
    """
    images, height, width, _ = tf.unstack(tf.shape(maps))
    row_level, column_level = _level(bottom - top), _level(right - left)
    row_levels, column_levels = (tf.maximum(tf.reduce_max(level), 0) + 1 for level in (row_level, column_level))
    windows = _running_maxima(_running_maxima(maps, 1, row_levels), 3, column_levels)  # (levels, levels, N, H, W, D)
    windows = tf.reshape(windows, [-1, maps.shape[-1]])

    table = column_level[..., None, :] * row_levels + row_level[..., None]  # (N, S, size, size)
    first_row = (table * images + tf.range(images)[:, None, None, None]) * height

    def corner(row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        window = (first_row + row[..., None]) * width + column[..., None, :]
        return tf.gather(windows, tf.maximum(window, 0))  # an empty bin's may lie before the map

    far_row, far_column = bottom - 2**row_level, right - 2**column_level
    near = tf.maximum(corner(top, left), corner(top, far_column))
    return tf.maximum(near, tf.maximum(corner(far_row, left), corner(far_row, far_column)))


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


def _keys(features: tf.Tensor) -> tf.Tensor:
    """Return int64 keys (N, H, W, D) in the order of the features; of equal ones, the earlier cell's is the larger."""
    bits = tf.bitcast(features, tf.int32)
    ordered = tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, 2**31 - 1), bits)  # more negative floats have larger bits
    _, height, width, _ = tf.unstack(tf.shape(features))
    cells = tf.cast(tf.reshape(tf.range(height * width), [height, width, 1]), tf.int64)
    return tf.bitwise.left_shift(tf.cast(ordered, tf.int64), tf.constant(32, tf.int64)) + (LOW_HALF - cells)


def _cells(keys: tf.Tensor) -> tf.Tensor:
    """Return the index row * W + column of the cell that each key is of, int32."""
    return tf.cast(LOW_HALF - tf.bitwise.bitwise_and(keys, tf.constant(LOW_HALF, tf.int64)), tf.int32)


def _sum_by_cell(numbers: tf.Tensor, cells: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Return for maps of a shape (N, H, W, D) the sum of the numbers (N, S, size, size, D) at each cell and channel.

    Each channel is summed on its own, by one thread: in the same order at every run.
    """
    images, height, width, depth = tf.unstack(shape)

    def by_channel(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.transpose(tf.reshape(tensor, [images, -1, depth]), [0, 2, 1]), [images * depth, -1])

    sums = tf.raw_ops.DenseBincount(
        input=by_channel(cells), size=height * width, weights=by_channel(numbers), binary_output=False
    )
    return tf.reshape(tf.transpose(tf.reshape(sums, [images, depth, height * width]), [0, 2, 1]), shape)
