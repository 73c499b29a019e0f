"""Exponential moving average of the weights (EMA), by torch's AveragedModel."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def average_of(model: nn.Module, decay: float) -> AveragedModel:
    """Return a copy of a network whose `update_parameters` lets weights and buffers follow; whole numbers are copied.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the average soon forgets the start.
    """

    @torch.no_grad()
    def follow(averages: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        count = torch.as_tensor(updates)  # stays on its device, so that no step waits for CUDA
        share = 1 - ((1 + count) / (10 + count)).clamp(max=decay)
        for average, tensor in zip(averages, current, strict=True):
            average.lerp_(tensor, share) if tensor.is_floating_point() else average.copy_(tensor)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
