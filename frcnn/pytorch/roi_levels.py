"""Pool RoIs from several feature maps, each from the one that fits its size (Lin et al., 2017, section 4.2).

On the CPU RoIAlign is a sum of cells with weights, which torch's embedding_bag computes several times as fast as
torchvision's operator, its gradient above all.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import roi_align

from frcnn.anchors.grid import Grid
from frcnn.params import RoIPool

# An RoI of this size, in pixels of the resized image, is pooled from the map with a stride of 2^4 = 16.
USUAL_SIZE, USUAL_LEVEL = 224, 4


def assign_levels(rois: Tensor, strides: Sequence[int]) -> Tensor:
    """Return for RoIs (R, 4) the index (R,) int64 of the feature map to pool from.

    Args:
        strides: of the feature maps, powers of 2 in pixels of the resized image.
    """
    finest, coarsest = (int(math.log2(stride)) for stride in (strides[0], strides[-1]))
    sizes = ((rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])).sqrt()
    level = torch.floor(USUAL_LEVEL + torch.log2(sizes / USUAL_SIZE) + 1e-6)
    return level.clamp(finest, coarsest).long() - finest


def pool_levels(
    maps: Sequence[Tensor],
    grids: Sequence[Sequence[Grid]],
    strides: Sequence[int],
    rois: Tensor,
    real: Tensor,
    settings: RoIPool,
) -> Tensor:
    """Return the features (R, D, size, size) of the real RoIs of every image, one after the other, by RoIAlign.

    Args:
        maps: (N, D, H, W) of each level, padded at the right and bottom.
        grids: of each image, (rows, columns) of each level without padding.
        strides: of each level.
        rois: (N, S, 4) in pixels of the resized image.
        real: (N, S) bool, the R RoIs that are no padding.
        settings: size, samples per bin and axis; `aligned` takes coordinate c in cells to lie at index c - 0.5.
    """
    image, chosen = torch.nonzero(real)[:, 0], rois[real]
    level = assign_levels(chosen, strides)
    places, pooled = [], []
    for number, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        for index in range(len(rois)):
            rows, columns = grids[index][number]
            own = torch.nonzero((level == number) & (image == index))[:, 0]
            places.append(own)
            pooled.append(_align(features[index, :, :rows, :columns], chosen[own] / stride, settings))
    return torch.cat(pooled)[torch.cat(places).int().argsort()]  # see sample_rois


def _align(features: Tensor, rois: Tensor, settings: RoIPool) -> Tensor:
    """Return RoIAlign (R, D, size, size) of features (D, rows, columns) over RoIs (R, 4) in cells."""
    size, ratio = settings.size, settings.sampling_ratio
    if features.device.type != "cpu" or ratio == 0:
        wide = features.to(rois.dtype)[None]
        return roi_align(wide, [rois], size, sampling_ratio=ratio, aligned=settings.aligned)
    channels, rows, columns = features.shape
    row, row_weight = _cells(rois[:, 1], rois[:, 3], rows, settings)
    column, column_weight = _cells(rois[:, 0], rois[:, 2], columns, settings)
    cells = row[:, :, None, :, None] * columns + column[:, None, :, None, :]
    weights = row_weight[:, :, None, :, None] * column_weight[:, None, :, None, :]
    table = features.permute(1, 2, 0).reshape(rows * columns, channels)
    per_bin = (len(rois) * size * size, (2 * ratio) ** 2)
    sums = functional.embedding_bag(
        cells.reshape(per_bin), table, mode="sum", per_sample_weights=weights.reshape(per_bin).to(table.dtype)
    )
    return sums.view(len(rois), size, size, channels).permute(0, 3, 1, 2)


def _cells(low: Tensor, high: Tensor, count: int, settings: RoIPool) -> tuple[Tensor, Tensor]:
    """Return the cells that each bin reads along one axis (R, size, 2 * ratio) int64, and their weights.

    Each sample is interpolated from the two cells around it; one beyond the map's first or last cell is that cell, one
    further than a cell away from it counts 0.

    Args:
        low, high: (R,), the bounds of the RoIs, in cells.
        count: of cells.
    """
    samples = settings.size * settings.sampling_ratio
    length = high - low if settings.aligned else (high - low).clamp(min=1)
    step = (torch.arange(samples, device=low.device, dtype=low.dtype) + 0.5) / samples
    position = low[:, None] - (0.5 if settings.aligned else 0) + step * length[:, None]
    reached = (position >= -1) & (position <= count)
    position = position.clamp(0, count - 1)
    first = position.floor().clamp(max=max(count - 2, 0))
    rest = position - first
    cells = torch.stack([first, (first + 1).clamp(max=count - 1)], -1).long()
    weights = torch.stack([1 - rest, rest], -1) * reached[..., None] / settings.sampling_ratio
    shape = (len(low), settings.size, 2 * settings.sampling_ratio)
    return cells.view(shape), weights.view(shape)
