"""Medians, turns, regions, arithmetic."""

import pytest
import torch
from torch import nn
from torch.profiler import record_function

from benchmarks import measure
from benchmarks.measure import (
    Measurement,
    count_flops,
    interleave,
    matrix_product,
    measurement,
    one_thread,
    ratio,
    seconds_by_region,
)


def test_the_median_and_the_extremes() -> None:
    assert measurement("step", "ms", [5, 1, 40, 2]) == Measurement("step", "ms", 3.5, 1, 40, 4)
    assert measurement("once", "s", [7]) == Measurement("once", "s", 7, 7, 7, 1)


def test_a_ratio_is_of_the_medians_and_its_extremes_are_of_single_turns() -> None:
    """A turn in which the machine was slow for both tells nothing about either."""
    assert ratio("a / b", [6, 60, 10], [3, 20, 4]) == Measurement("a / b", "times", 10 / 4, 2, 3, 3)
    assert ratio("a / b", [6, 60, 8], [3, 20, 2]) == Measurement("a / b", "times", 8 / 3, 2, 4, 3)


def test_functions_are_called_in_turns_which_begin_with_calls_that_are_not_timed() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleave(functions, 3, before=lambda name: calls.append(name.upper()))
    assert "".join(calls) == 4 * "AaaaBbbb"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert all(value > 0 for values in seconds.values() for value in values)


def test_quick_functions_fill_a_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEAST_SECONDS", 10)
    assert [measure.calls_per_repetition(seconds) for seconds in (2, 20, 0.5)] == [5, 1, 20]


def test_regions_and_the_rest_add_up_to_the_whole() -> None:
    small, large = torch.randn(20, 20), torch.randn(1000, 1000)

    def step() -> None:
        for name, matrix in (("first", small), ("second", large), ("second", large)):
            with record_function(name):
                matrix @ matrix
        large @ large

    seconds = seconds_by_region(step, ["first", "second", "absent"], 5, torch.device("cpu"))
    assert list(seconds) == ["first", "second", "other"]
    assert seconds["second"] > seconds["first"] > 0


def test_one_thread_for_the_block_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_arithmetic_of_layers() -> None:
    convolution = nn.Conv2d(3, 8, kernel_size=3, padding=1)
    image = torch.zeros(2, 3, 10, 20)
    forward = 2 * (2 * 10 * 20) * 8 * 3 * 9  # two operations a product; images, cells, channels out and in, kernel
    assert count_flops(lambda: convolution(image)) == forward
    assert count_flops(lambda: convolution(image).sum().backward()) == 2 * forward  # the image needs no gradient
    linear = nn.Linear(100, 30)
    with torch.no_grad():
        assert count_flops(lambda: linear(torch.zeros(7, 100))) == 2 * 7 * 100 * 30


def test_half_precision_has_the_same_arithmetic() -> None:
    convolution, image = nn.Conv2d(3, 8, kernel_size=3), torch.zeros(1, 3, 10, 10)
    half = torch.autocast("cpu", dtype=torch.bfloat16)(lambda: convolution(image))
    assert count_flops(half) == count_flops(lambda: convolution(image)) > 0


def test_batched_products_of_the_pooling_do_not_count() -> None:
    assert count_flops(lambda: torch.zeros(2, 3, 4) @ torch.zeros(2, 4, 5)) == 0


def test_the_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measure.MATRIX_SIDE, "cpu", 64)
    product, count = matrix_product(torch.device("cpu"), torch.bfloat16)
    assert (product().shape, product().dtype) == ((64, 64), torch.bfloat16)
    assert count_flops(product) == count
