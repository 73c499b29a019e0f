"""The arithmetic that is counted."""

import pytest
import torch
from torch import nn

from benchmarks import flops
from benchmarks.flops import count_flops, matrix_product


def test_layers_whose_arithmetic_is_known() -> None:
    convolution = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    image = torch.zeros(2, 3, 10, 20)
    forward = 2 * (2 * 10 * 20) * 8 * 3 * 9  # two operations a product; images, cells, channels out and in, kernel
    assert count_flops(lambda: convolution(image)) == forward
    assert count_flops(lambda: convolution(image).sum().backward()) == 2 * forward  # the image needs no gradient
    linear = nn.Linear(100, 30)
    with torch.no_grad():
        assert count_flops(lambda: linear(torch.zeros(7, 100))) == 2 * 7 * 100 * 30


def test_half_precision_counts_the_same() -> None:
    convolution, image = nn.Conv2d(3, 8, kernel_size=3), torch.zeros(1, 3, 10, 10)

    def half() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            convolution(image)

    assert count_flops(half) == count_flops(lambda: convolution(image)) > 0


def test_batched_products_of_the_pooling_do_not_count() -> None:
    assert count_flops(lambda: torch.zeros(2, 3, 4) @ torch.zeros(2, 4, 5)) == 0


def test_the_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flops.MATRIX_SIDE, "cpu", 64)
    product, count = matrix_product(torch.device("cpu"), torch.bfloat16)
    assert (product().shape, product().dtype) == ((64, 64), torch.bfloat16)
    assert count_flops(product) == count
