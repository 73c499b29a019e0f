"""Medians, turns and regions."""

import pytest
import torch
from torch.profiler import record_function

from benchmarks import measure
from benchmarks.measure import Measurement, interleave, measurement, one_thread, ratio, seconds_by_region


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
    matrix = torch.randn(200, 200)

    def step() -> None:
        for name in ("first", "second", "second"):
            with record_function(name):
                matrix @ matrix
        matrix @ matrix

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
