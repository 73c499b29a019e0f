"""Cut a fixed grid of features out of the map for every RoI: RoIAlign (Mask R-CNN, section 3), RoIPool (Fast R-CNN),
or the maxima of 2 x 2 bilinear samples per bin ("crop"), as implementations by TensorFlow's crop_and_resize take them.

For training, RoIAlign is written as two matrix products. Its bilinear samples and their mean separate into rows and
columns, so out = rows @ features @ columns^T with one small matrix per RoI and axis. That agrees with torchvision's
RoIAlign (aligned=True), and its backward pass is a matrix product too: faster on the CPU, and free of the atomic
additions that make torchvision's differ from run to run on a GPU. Without gradients torchvision's operator is used,
which is the faster one there.
"""

import torch
import torchvision
from torch import Tensor
from torch.nn import functional

from frcnn.backbones import STRIDE
from frcnn.params import RoIPool
from frcnn.pytorch.device import at_least_float32


def pool_rois(features: Tensor, grids: list[tuple[int, int]], rois: Tensor, settings: RoIPool) -> Tensor:
    """Return the features (N, S, D, size, size) of the RoIs of every image.

    Args:
        features: (N, D, H, W), padded at the right and bottom.
        grids: each image's own (rows, columns).
        rois: (N, S, 4) in pixels of the resized image.
        settings: operator, size, samples per bin and axis of RoIAlign (0: as many as there are cells); `clip` moves the
            RoIs into the image's own grid, so that no bin lies outside it and is 0; "crop" always does.
    """
    if settings.op == "crop":
        samples = pool_rois(
            features, grids, rois, RoIPool(op="align", size=2 * settings.size, sampling_ratio=1, clip=True)
        )
        return functional.max_pool2d(samples.flatten(0, 1), 2).unflatten(0, samples.shape[:2])
    features, size = at_least_float32(features), settings.size
    cells = torch.tensor(grids, dtype=rois.dtype).to(rois.device)[:, None, [1, 0]]  # (N, 1, 2): columns, rows
    if settings.clip:
        last = (
            1 if settings.op == "pool" else 0
        )  # RoIPool rounds to the index of the last cell, RoIAlign ends at its edge
        rois = torch.minimum(rois.clamp(min=0), (cells - last).repeat(1, 1, 2) * STRIDE)
    if settings.op == "align" and settings.aligned and settings.sampling_ratio and torch.is_grad_enabled():
        with torch.autocast(features.device.type, enabled=False):
            return roi_align(features, cells, rois / STRIDE, size, settings.sampling_ratio)
    pooled = []
    for maps, (rows, columns), image_rois in zip(features, grids, rois, strict=True):
        own = maps[None, :, :rows, :columns]
        if settings.op == "pool":
            pooled.append(torchvision.ops.roi_pool(own, [image_rois], size, 1 / STRIDE))
        else:
            ratio = settings.sampling_ratio
            pooled.append(torchvision.ops.roi_align(own, [image_rois], size, 1 / STRIDE, ratio, settings.aligned))
    return torch.stack(pooled)


def roi_align(features: Tensor, cells: Tensor, rois: Tensor, size: int, sampling_ratio: int) -> Tensor:
    """Return RoIAlign of features (N, D, H, W) over rois (N, S, 4) in cells: (N, S, D, size, size).

    A coordinate c in cells lies at index c - 0.5 (`aligned`).

    Args:
        cells: (N, 1, 2), columns and rows of each image's own grid.
    """
    images, depth, height, width = features.shape
    columns = _weights(rois[..., 0], rois[..., 2], width, cells[..., 0], size, sampling_ratio)
    rows = _weights(rois[..., 1], rois[..., 3], height, cells[..., 1], size, sampling_ratio)
    # (S * size, H) @ (H, W * D), then per RoI and row of bins (size, W) @ (W, D)
    by_row = rows.flatten(1, 2) @ features.permute(0, 2, 3, 1).reshape(images, height, width * depth)
    by_row = by_row.view(images, -1, size, width, depth)
    return (columns[:, :, None] @ by_row).permute(0, 1, 4, 2, 3)


def _weights(low: Tensor, high: Tensor, cells: int, own_cells: Tensor, size: int, sampling_ratio: int) -> Tensor:
    """Return (N, S, size, cells): what each cell along one axis contributes to each bin."""
    samples = size * sampling_ratio
    step = (torch.arange(samples, device=low.device, dtype=low.dtype) + 0.5) / samples
    position = low[..., None] - 0.5 + step * (high - low)[..., None]
    limit = own_cells[..., None]
    reached = (position >= -1) & (position <= limit)
    position = torch.minimum(position.clamp(min=0), limit - 1)
    cell = torch.arange(cells, device=low.device, dtype=low.dtype)
    tent = (1 - (position[..., None] - cell).abs()).clamp(min=0)  # bilinear interpolation
    return (tent * reached[..., None]).unflatten(2, (size, sampling_ratio)).mean(3)
