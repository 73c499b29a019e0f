"""Pool RoIs from several feature maps, each from the one that fits its size (Lin et al., 2017, section 4.2)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from frcnn.anchors.grid import Grid
from frcnn.params import RoIPool
from frcnn.pytorch.device import at_least_float32

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
    size, ratio, aligned = settings.size, settings.sampling_ratio, settings.aligned
    places, pooled = [], []
    for number, (features, stride) in enumerate(zip(maps, strides, strict=True)):
        features = at_least_float32(features)
        for index in range(len(rois)):
            rows, columns = grids[index][number]
            own = torch.nonzero((level == number) & (image == index))[:, 0]
            cells = features[index : index + 1, :, :rows, :columns]
            places.append(own)
            pooled.append(roi_align(cells, [chosen[own]], size, 1 / stride, ratio, aligned=aligned))
    return torch.cat(pooled)[torch.cat(places).argsort()]
