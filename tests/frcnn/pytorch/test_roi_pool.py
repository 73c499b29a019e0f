"""RoIAlign as matrix products equals torchvision's; RoIPool stays inside the grid."""

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align as torchvision_roi_align

from frcnn.params import RoIPool
from frcnn.pytorch.roi_pool import pool_rois, roi_align


def random_rois(count: int, width: float, height: float) -> torch.Tensor:
    """Return boxes (count, 4) inside width x height cells, some of them empty or at the border."""
    corner = torch.rand(count, 2) * torch.tensor([width, height])
    far = torch.minimum(corner + torch.rand(count, 2) * torch.tensor([width, height]), torch.tensor([width, height]))
    rois = torch.cat([corner, far], 1)
    rois[0] = torch.tensor([0, 0, width, height])
    rois[1] = torch.tensor([3.0, 3.0, 3.0, 3.0])
    rois[2] = torch.tensor([width - 1, height - 1, width, height])
    return rois


def pool_one(features: torch.Tensor, rois: torch.Tensor, settings: RoIPool) -> torch.Tensor:
    """Pool the RoIs (R, 4) of one image from its features (D, H, W)."""
    return pool_rois(features[None], [features.shape[1:]], rois[None], settings)[0]


@pytest.mark.parametrize(("size", "sampling_ratio"), [(7, 2), (5, 1), (2, 3)])
def test_forward_and_gradient_equal_torchvision(size: int, sampling_ratio: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 6, 20, 31, dtype=torch.float64, requires_grad=True)
    rois = torch.stack([random_rois(40, 31, 20), random_rois(40, 25, 18)]).double()
    ours = roi_align(features, torch.tensor([[[31.0, 20]], [[25, 18]]]), rois, size, sampling_ratio)
    own = ((features[:1], rois[0]), (features[1:, :, :18, :25], rois[1]))  # the second image is padded
    theirs = torch.stack([torchvision_roi_align(m, [r], size, 1.0, sampling_ratio, aligned=True) for m, r in own])
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-10)
    weights = torch.randn_like(ours)
    [gradient], [expected] = (torch.autograd.grad((out * weights).sum(), features) for out in (ours, theirs))
    torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=1e-10)


def test_no_rois() -> None:
    found = roi_align(torch.rand(2, 4, 5, 5), torch.tensor([[[5, 5]], [[5, 5]]]), torch.zeros(2, 0, 4), 7, 2)
    assert found.shape == (2, 0, 4, 7, 7)


@pytest.mark.parametrize("op", ["align", "crop"])
def test_training_and_detection_see_the_same(op: str) -> None:
    features, rois = torch.randn(6, 20, 31), random_rois(40, 31 * 16, 20 * 16)
    settings = RoIPool(op=op, size=7, sampling_ratio=2, clip=True)
    with torch.no_grad():
        detection = pool_one(features, rois, settings)
    torch.testing.assert_close(pool_one(features, rois, settings), detection, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("op", ["align", "pool", "crop"])
def test_an_roi_beyond_the_grid_has_no_empty_bin(op: str) -> None:
    # 37 rows of 16 px end at 592; the image, and so the RoI, reaches to 600. Unclipped RoIPool leaves rows at 0.
    features = torch.ones(3, 37, 50)
    roi = torch.tensor([[100.0, 560, 300, 600]])
    pooled, unclipped = (
        pool_one(features, roi, RoIPool(op=op, size=7, sampling_ratio=2, clip=clip)) for clip in (True, False)
    )
    torch.testing.assert_close(pooled, torch.ones_like(pooled))
    if op == "pool":
        assert unclipped.amax((0, 1, 3)).tolist() == [1, 1, 1, 1, 0, 0, 0]  # as published
    else:
        torch.testing.assert_close(unclipped, pooled)  # samples up to a cell beyond the border repeat it


def test_crop_takes_the_largest_of_four_samples() -> None:
    column = torch.arange(6.0).expand(1, 6, 6)
    rois = torch.tensor([[16.0, 16, 80, 80], [64, 64, 160, 160]])
    for clip in (True, False):
        # Cells 1 to 5 in two bins of 2 cells: samples at 1.5, 2.5 and 3.5, 4.5, that is at the indices 1, 2 and 3, 4.
        pooled = pool_one(column, rois, RoIPool(op="crop", size=2, clip=clip))
        assert pooled[0, 0].tolist() == [[2, 4], [2, 4]]
        assert pooled[1, 0].tolist() == [[4.25, 5], [4.25, 5]]  # cut at the border, whose cell is repeated beyond


def test_crop_of_no_rois() -> None:
    features = torch.rand(6, 20, 31, requires_grad=True)
    assert pool_one(features, torch.zeros(0, 4), RoIPool(op="crop")).shape == (0, 6, 7, 7)


def test_gradient_of_crop() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 8, 9, dtype=torch.float64, requires_grad=True)
    rois = random_rois(5, 9 * 16, 8 * 16).double()
    settings = RoIPool(op="crop", size=3)
    assert torch.autograd.gradcheck(lambda maps: pool_one(maps, rois, settings), [features])


def slow_roi_pool(features: torch.Tensor, roi: list[float], size: int) -> torch.Tensor:
    """Return RoIPool of one RoI as it is written down: corners rounded half away from zero, bins that overlap."""
    depth, height, width = features.shape
    start_x, start_y, end_x, end_y = (int(np.floor(value / 16 + 0.5)) for value in roi)
    roi_width, roi_height = max(end_x - start_x + 1, 1), max(end_y - start_y + 1, 1)
    out = torch.zeros(depth, size, size, dtype=features.dtype)
    for row in range(size):
        top = min(max(start_y + row * roi_height // size, 0), height)
        bottom = min(max(start_y + -(-(row + 1) * roi_height // size), 0), height)
        for column in range(size):
            left = min(max(start_x + column * roi_width // size, 0), width)
            right = min(max(start_x + -(-(column + 1) * roi_width // size), 0), width)
            if bottom > top and right > left:
                out[:, row, column] = features[:, top:bottom, left:right].amax((1, 2))
    return out


def test_roi_pool_rounds_as_published() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 37, 50)
    rois = random_rois(40, 800, 600)
    rois[3] = torch.tensor([8.0, 24, 40, 56])  # halves of a cell: 1, 2, 3, 4
    pooled = pool_one(features, rois, RoIPool(op="pool", size=7, clip=False))
    for found, roi in zip(pooled, rois.tolist(), strict=True):
        torch.testing.assert_close(found, slow_roi_pool(features, roi, 7))


def test_roi_pool_takes_the_largest() -> None:
    features = torch.arange(16.0).view(1, 4, 4)
    pooled = pool_one(features, torch.tensor([[0.0, 0, 47, 47]]), RoIPool(op="pool", size=2))
    assert pooled.flatten().tolist() == [5, 7, 13, 15]
