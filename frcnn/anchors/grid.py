"""Where the anchors stand: shapes, the grid of the feature map, validity.

Anchors are laid out row by row, cell by cell, K anchors a cell: flat index = (row * columns + column) * K + k, where
k = size_index * ratios + ratio_index. Pixels are those of the resized image.
"""

from functools import lru_cache

import numpy as np

STRIDE = 16  # px of the image a cell of the feature map, for every backbone here


def feature_grid(width: int, height: int, backbone: str) -> tuple[int, int]:
    """Return (rows, columns) of a backbone's feature map for an image of width x height pixels.

    VGG's pooling rounds down, a ResNet's padded strides round up; both rules are exact for the layers used.
    """
    if backbone.startswith("vgg"):
        return height // STRIDE, width // STRIDE
    return -(-height // STRIDE), -(-width // STRIDE)


def anchor_shapes(sizes: tuple[float, ...], ratios: tuple[float, ...]) -> np.ndarray:
    """Return the shapes (K, 2) float64 (width, height) in pixels; area = size^2, height / width = ratio."""
    shapes = [(size / np.sqrt(ratio), size * np.sqrt(ratio)) for size in sizes for ratio in ratios]
    return np.array(shapes, dtype=np.float64)


@lru_cache(maxsize=256)
def anchor_grid(
    rows: int, columns: int, sizes: tuple[float, ...], ratios: tuple[float, ...], offset: float
) -> np.ndarray:
    """Return all anchors (rows * columns * K, 4) float32 xyxy of a feature map, in pixels.

    Centre and size are rounded to float32 before the corners are taken, the order that the labels' ties refer to.

    Args:
        offset: place of the centre in its cell, 0.5 for the middle (paper, section 3.1.1).
    """
    centers, shapes = _centers_and_shapes(rows, columns, sizes, ratios, offset)
    centers, half = centers.astype(np.float32), np.float32(0.5) * shapes.astype(np.float32)
    grid = np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)
    grid.setflags(write=False)
    return grid


@lru_cache(maxsize=4096)
def valid_anchors(
    width: int,
    height: int,
    rows: int,
    columns: int,
    sizes: tuple[float, ...],
    ratios: tuple[float, ...],
    offset: float,
    straddle: float | None,
) -> np.ndarray:
    """Return the flat indices (V,) int64 of the anchors that take part in training the RPN.

    These are the anchors that cross the image border by no more than `straddle` pixels (paper, section 3.1.3), or all
    where `straddle` is None or where none qualifies (an image smaller than every anchor still trains).
    """
    centers, shapes = _centers_and_shapes(rows, columns, sizes, ratios, offset)
    low = centers - 0.5 * shapes
    high = centers + 0.5 * shapes
    margin = np.inf if straddle is None else straddle
    inside = np.all((low >= -margin) & (high <= np.array([width, height]) + margin), axis=-1).reshape(-1)
    indices = np.flatnonzero(inside) if inside.any() else np.arange(inside.size)
    indices.setflags(write=False)
    return indices


def _centers_and_shapes(
    rows: int, columns: int, sizes: tuple[float, ...], ratios: tuple[float, ...], offset: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and shapes, both (rows, columns, K, 2) float64 as (x, y) and (width, height)."""
    shapes = anchor_shapes(sizes, ratios)
    x = (np.arange(columns) + offset) * STRIDE
    y = (np.arange(rows) + offset) * STRIDE
    centers = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None, :]
    full = (rows, columns, len(shapes), 2)
    return np.broadcast_to(centers, full), np.broadcast_to(shapes, full)
