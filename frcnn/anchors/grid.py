"""Where the anchors are: shapes, the grids of the feature maps, which of them take part.

Anchors are in the order feature map, row, column, size, ratio, K per cell of each feature map: within one, flat index =
(row * columns + column) * K + k, where k = size_index * ratios + ratio_index. Sizes are (width, height), grids are
(rows, columns); pixels are those of the resized image. The results are read-only and cached, for few sizes: a pyramid
has 200,000 anchors at 800 px.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from frcnn.backbones import BACKBONES
from frcnn.params import Anchors

Grid = tuple[int, int]


@dataclass(frozen=True)
class FeatureMaps:
    """The feature maps of an image or of a padded batch, from the finest.

    Attributes:
        grids: (rows, columns) of each.
        strides: (x, y) of each, pixels per cell.
    """

    grids: tuple[Grid, ...]
    strides: tuple[tuple[int, int], ...]

    def starts(self, per_cell: int) -> np.ndarray:
        """Return (maps,) int64, the flat index of each map's first anchor."""
        return np.cumsum([0, *(rows * columns * per_cell for rows, columns in self.grids[:-1])])


@lru_cache(maxsize=4096)
def feature_maps(size: tuple[int, int], backbone: str, anchors: Anchors) -> FeatureMaps:
    """Return the feature maps of a backbone for an image of this size, which may include padding.

    VGG's pooling rounds down, the padded strides of the others round up; both rules are exact for the layers used.
    """
    table, (width, height) = BACKBONES[backbone], size
    if table.grid == "floor":
        grids = tuple((height // stride, width // stride) for stride in table.strides)
    else:
        grids = tuple((-(-height // stride), -(-width // stride)) for stride in table.strides)
    if anchors.strides == "fixed":
        return FeatureMaps(grids, tuple((stride, stride) for stride in table.strides))
    return FeatureMaps(grids, tuple((width // columns, height // rows) for rows, columns in grids))


def anchor_shapes(anchors: Anchors, feature_map: int = 0) -> np.ndarray:
    """Return the shapes (K, 2) float64 (width, height) in pixels; area = size^2, height / width = ratio."""
    sizes, ratios = anchors.sizes_of(feature_map), anchors.anchor_ratios
    shapes = np.array([(size / np.sqrt(ratio), size * np.sqrt(ratio)) for size in sizes for ratio in ratios])
    return 2 * np.round(shapes / 2) if anchors.rounded else shapes


@lru_cache(maxsize=64)
def anchor_grid(maps: FeatureMaps, anchors: Anchors) -> np.ndarray:
    """Return all anchors (A, 4) float32 xyxy of the feature maps, in pixels.

    Center and size are rounded to float32 before the corners are taken, the order that the labels' ties refer to.
    """
    levels = []
    for centers, shapes in _centers_and_shapes(maps, anchors):
        middle, half = centers.astype(np.float32), np.float32(0.5) * shapes.astype(np.float32)
        levels.append(np.concatenate([middle - half, middle + half], axis=-1).reshape(-1, 4))
    boxes = np.concatenate(levels)
    boxes.setflags(write=False)
    return boxes


@lru_cache(maxsize=64)
def valid_anchors(size: tuple[int, int], maps: FeatureMaps, anchors: Anchors) -> np.ndarray:
    """Return the flat indices (V,) int64 of the anchors that take part in training the RPN.

    These are the anchors that cross the image border by no more than `rpn_straddle_thresh` pixels (paper, section
    3.1.3), or all if that is None or if none qualifies (an image smaller than every anchor still trains).
    """
    margin = np.inf if anchors.rpn_straddle_thresh is None else anchors.rpn_straddle_thresh
    levels = []
    for centers, shapes in _centers_and_shapes(maps, anchors):
        low = centers - 0.5 * shapes
        high = centers + 0.5 * shapes
        levels.append(np.all((low >= -margin) & (high <= np.array(size) + margin), axis=-1).reshape(-1))
    inside = np.concatenate(levels)
    indices = np.flatnonzero(inside) if inside.any() else np.arange(inside.size)
    indices.setflags(write=False)
    return indices


def proposing_anchors(
    maps: FeatureMaps,
    image_grids: list[tuple[Grid, ...]],
    sizes: list[tuple[int, int]],
    anchors: Anchors,
    exclude_edge: bool,
) -> np.ndarray:
    """Return which anchors of a padded batch may become proposals, (N, A) bool: those in each image's own grids.

    Args:
        maps: of the padded batch.
        image_grids: of each image without padding.
        sizes: of each image without padding.
        exclude_edge: leave out anchors that cross the border of the image.
    """
    levels = []
    for level, grid in enumerate(maps.grids):
        cells = np.zeros((len(sizes), *grid, anchors.per_cell), bool)
        for image, grids in zip(cells, image_grids, strict=True):
            rows, columns = grids[level]
            image[:rows, :columns] = True
        levels.append(cells.reshape(len(sizes), -1))
    allowed = np.concatenate(levels, axis=1)
    if exclude_edge:
        boxes = anchor_grid(maps, anchors)
        limits = np.array(sizes)[:, None]
        allowed &= ((boxes[:, :2] >= 0) & (boxes[:, 2:] <= limits)).all(-1)
    return allowed


def move_to_batch(index: np.ndarray, own: FeatureMaps, batch: FeatureMaps, per_cell: int) -> np.ndarray:
    """Return flat indices (S,) int64 of an image's anchors as indices of the padded batch's."""
    starts = own.starts(per_cell)
    level = np.searchsorted(starts, index, side="right") - 1
    own_width, batch_width = (np.array(maps.grids)[level, 1] * per_cell for maps in (own, batch))
    row, rest = np.divmod(index - starts[level], own_width)
    return batch.starts(per_cell)[level] + row * batch_width + rest


def _centers_and_shapes(maps: FeatureMaps, anchors: Anchors) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return of each map centers and shapes, both (rows, columns, K, 2) float64 as (x, y) and (width, height)."""
    levels = []
    for level, ((rows, columns), (stride_x, stride_y)) in enumerate(zip(maps.grids, maps.strides, strict=True)):
        shapes = anchor_shapes(anchors, level)
        x = (np.arange(columns) + anchors.anchor_offset) * stride_x
        y = (np.arange(rows) + anchors.anchor_offset) * stride_y
        centers = np.stack(np.meshgrid(x, y), axis=-1)[:, :, None, :]
        full = (rows, columns, len(shapes), 2)
        levels.append((np.broadcast_to(centers, full), np.broadcast_to(shapes, full)))
    return levels
