"""Non-maximum suppression keeps exactly what torchvision's does, whatever the number of blocks."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from frcnn.pytorch.nms import BLOCK, nms


def random_boxes(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return boxes (count, 4) around a few places and scores (count,), some of them equal."""
    torch.manual_seed(count)
    center = torch.randint(0, 5, (count, 2)) * 60 + torch.randn(count, 2, dtype=dtype) * 20
    sides = torch.rand(count, 2, dtype=dtype) * 80
    return torch.cat([center - sides / 2, center + sides / 2], 1), torch.randint(0, count + 1, (count,)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1, 5 * BLOCK])
def test_equals_torchvision(count: int, threshold: float, dtype: torch.dtype) -> None:
    boxes, scores = random_boxes(count, dtype)
    expected = torchvision_nms(boxes, scores, threshold)
    for most in (1, 100, count + 1):
        assert torch.equal(nms(boxes, scores, threshold, most), expected[:most])


@pytest.mark.parametrize(("width", "kept"), [(3, False), (2.99, True)])
def test_an_overlap_between_blocks_counts_like_one_within(width: float, kept: bool) -> None:
    # The float32 nearest to 0.3 is more than 0.3, and so is the IoU 3 / 10 in float32.
    boxes = torch.tensor([[0.0, 0, 10, 1], *([[100.0, 100, 110, 110]] * BLOCK), [0, 0, width, 1]])
    scores = torch.arange(len(boxes), 0, -1).float()
    expected = [0, 1, BLOCK + 1] if kept else [0, 1]
    assert nms(boxes, scores, 0.3, len(boxes)).tolist() == expected
    assert torchvision_nms(boxes, scores, 0.3).tolist() == expected
