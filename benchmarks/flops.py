"""Count the arithmetic of a network, and measure the matrix product that it is compared with."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}  # large enough for the device's full rate


def count_flops(function: Callable[[], Any]) -> int:
    """Return the floating-point operations of the convolutions and fully connected layers that a call executes.

    Batched matrix products are left out: the network itself has none, but ways to pool RoIs do.
    """
    with FlopCounterMode(display=False) as counter:
        function()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operator, count in counts.items() if operator is not torch.ops.aten.bmm)


def matrix_product(device: torch.device, precision: torch.dtype) -> tuple[Callable[[], torch.Tensor], int]:
    """Return a product of two random square matrices to be timed, and its floating-point operations."""
    side = MATRIX_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device, dtype=precision) for _ in range(2))
    return lambda: left @ right, 2 * side**3
