"""Cut a fixed grid of features out of the map for every RoI: RoIAlign (Mask R-CNN, section 3) or RoIPool (Fast R-CNN).

For training, RoIAlign is written as two matrix products. Its bilinear samples and their mean separate into rows and
columns, so out = rows @ features @ columns^T with one small matrix an RoI and axis. That agrees with torchvision's
RoIAlign (aligned=True), and its backward pass is a matrix product too: faster on the CPU, and free of the atomic
additions that make torchvision's differ from run to run on a GPU. Without gradients torchvision's operator is used,
which is the faster one there.
"""

import torch
import torchvision
from torch import Tensor

from frcnn.model.device import at_least_float32


def pool_rois(
    features: Tensor, rois: Tensor, *, op: str, size: int, sampling_ratio: int, clip: bool, stride: int
) -> Tensor:
    """Return the features (R, D, size, size) of one image's RoIs.

    Args:
        features: (D, H, W), the image's own grid without padding.
        rois: (R, 4) in pixels of the resized image.
        op: "align" or "pool".
        sampling_ratio: samples a bin and axis of RoIAlign.
        clip: move the RoIs into the grid, so that no bin lies outside it and stays 0.
        stride: pixels a cell.
    """
    features = at_least_float32(features)
    if clip:
        height, width = features.shape[-2:]
        last = 1 if op == "pool" else 0  # RoIPool rounds to the index of the last cell, RoIAlign ends at its edge
        rois = torch.minimum(rois.clamp(min=0), rois.new_tensor([width - last, height - last] * 2) * stride)
    if op == "pool":
        return torchvision.ops.roi_pool(features[None], [rois], size, 1 / stride)
    if not torch.is_grad_enabled():
        return torchvision.ops.roi_align(features[None], [rois], size, 1 / stride, sampling_ratio, aligned=True)
    with torch.autocast(features.device.type, enabled=False):
        return roi_align(features, rois / stride, size, sampling_ratio)


def roi_align(features: Tensor, rois: Tensor, size: int, sampling_ratio: int) -> Tensor:
    """Return RoIAlign of features (D, H, W) over rois (R, 4) in cells: (R, D, size, size).

    A coordinate c in cells lies at index c - 0.5 (`aligned`).
    """
    height, width = features.shape[-2:]
    columns = _weights(rois[:, 0], rois[:, 2], width, size, sampling_ratio)
    rows = _weights(rois[:, 1], rois[:, 3], height, size, sampling_ratio)
    depth = features.shape[0]
    # (R * size, H) @ (H, D * W), then per RoI (D, size, W) @ (W, size)
    by_row = rows.flatten(0, 1) @ features.permute(1, 0, 2).reshape(height, -1)
    by_row = by_row.view(len(rois), size * depth, width)
    return (by_row @ columns.transpose(1, 2)).view(len(rois), size, depth, size).transpose(1, 2)


def _weights(low: Tensor, high: Tensor, cells: int, size: int, sampling_ratio: int) -> Tensor:
    """Return (R, size, cells): what each cell along one axis contributes to each bin."""
    samples = size * sampling_ratio
    step = (torch.arange(samples, device=low.device, dtype=low.dtype) + 0.5) / samples
    position = low[:, None] - 0.5 + step * (high - low)[:, None]
    reached = (position >= -1) & (position <= cells)
    position = position.clamp(0, cells - 1)
    cell = torch.arange(cells, device=low.device, dtype=low.dtype)
    tent = (1 - (position[..., None] - cell).abs()).clamp(min=0)  # bilinear interpolation
    return (tent * reached[..., None]).unflatten(1, (size, sampling_ratio)).mean(2)
