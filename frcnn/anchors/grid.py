"""Where the anchors are: shapes, the grid of the feature map, which of them take part.

Anchors are in the order row, column, size, ratio, K per cell: flat index = (row * columns + column) * K + k, where
k = size_index * ratios + ratio_index. Sizes are (width, height), grids are (rows, columns); pixels are those of the
resized image. The results are cached and read-only.
"""

from functools import lru_cache

import numpy as np

from frcnn.backbones import BACKBONES
from frcnn.params import Anchors

STRIDE = 16  # px of the image per cell of the feature map, for every backbone


def feature_grid(size: tuple[int, int], backbone: str) -> tuple[int, int]:
    """Return (rows, columns) of a backbone's feature map for an image of this size.

    VGG's pooling rounds down, a ResNet's padded strides round up; both rules are exact for the layers used.
    """
    width, height = size
    if BACKBONES[backbone].grid == "floor":
        return height // STRIDE, width // STRIDE
    return -(-height // STRIDE), -(-width // STRIDE)


def anchor_shapes(anchors: Anchors) -> np.ndarray:
    """Return the shapes (K, 2) float64 (width, height) in pixels; area = size^2, height / width = ratio."""
    sizes, ratios = anchors.anchor_sizes, anchors.anchor_ratios
    shapes = [(size / np.sqrt(ratio), size * np.sqrt(ratio)) for size in sizes for ratio in ratios]
    return np.array(shapes, dtype=np.float64)


@lru_cache(maxsize=256)
def anchor_grid(grid: tuple[int, int], anchors: Anchors) -> np.ndarray:
    """Return all anchors (rows * columns * K, 4) float32 xyxy of a feature map, in pixels.

    Center and size are rounded to float32 before the corners are taken, the order that the labels' ties refer to.
    """
    centers, shapes = _centers_and_shapes(grid, anchors)
    centers, half = centers.astype(np.float32), np.float32(0.5) * shapes.astype(np.float32)
    boxes = np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)
    boxes.setflags(write=False)
    return boxes


@lru_cache(maxsize=4096)
def valid_anchors(size: tuple[int, int], grid: tuple[int, int], anchors: Anchors) -> np.ndarray:
    """Return the flat indices (V,) int64 of the anchors that take part in training the RPN.

    These are the anchors that cross the image border by no more than `rpn_straddle_thresh` pixels (paper, section
    3.1.3), or all if that is None or if none qualifies (an image smaller than every anchor still trains).
    """
    centers, shapes = _centers_and_shapes(grid, anchors)
    low = centers - 0.5 * shapes
    high = centers + 0.5 * shapes
    margin = np.inf if anchors.rpn_straddle_thresh is None else anchors.rpn_straddle_thresh
    inside = np.all((low >= -margin) & (high <= np.array(size) + margin), axis=-1).reshape(-1)
    indices = np.flatnonzero(inside) if inside.any() else np.arange(inside.size)
    indices.setflags(write=False)
    return indices


def proposing_anchors(
    grid: tuple[int, int],
    image_grids: list[tuple[int, int]],
    sizes: list[tuple[int, int]],
    anchors: Anchors,
    exclude_edge: bool,
) -> np.ndarray:
    """Return which anchors of a padded batch may become proposals, (N, A) bool: those in each image's own grid.

    Args:
        grid: of the padded batch.
        image_grids: of each image without padding.
        sizes: of each image without padding.
        exclude_edge: leave out anchors that cross the border of the image.
    """
    cells = np.zeros((len(sizes), *grid, anchors.per_cell), bool)
    for image, (rows, columns) in zip(cells, image_grids, strict=True):
        image[:rows, :columns] = True
    allowed = cells.reshape(len(sizes), -1)
    if exclude_edge:
        boxes = anchor_grid(grid, anchors)
        limits = np.array(sizes)[:, None]
        allowed &= ((boxes[:, :2] >= 0) & (boxes[:, 2:] <= limits)).all(-1)
    return allowed


def _centers_and_shapes(grid: tuple[int, int], anchors: Anchors) -> tuple[np.ndarray, np.ndarray]:
    """Return centers and shapes, both (rows, columns, K, 2) float64 as (x, y) and (width, height)."""
    rows, columns = grid
    shapes = anchor_shapes(anchors)
    x = (np.arange(columns) + anchors.anchor_offset) * STRIDE
    y = (np.arange(rows) + anchors.anchor_offset) * STRIDE
    centers = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None, :]
    full = (rows, columns, len(shapes), 2)
    return np.broadcast_to(centers, full), np.broadcast_to(shapes, full)
