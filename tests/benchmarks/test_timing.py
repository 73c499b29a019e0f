"""Medians, turns and replaced functions."""

import statistics
from types import SimpleNamespace

import pytest
import torch

from benchmarks import timing
from benchmarks.timing import Measurement, interleave, measurement, one_thread, ratio, recorded, replaced

CPU = torch.device("cpu")


def test_the_median_and_the_extremes() -> None:
    assert measurement("step", "ms", [5, 1, 40, 2]) == Measurement("step", "ms", 3.5, 1, 40, 4)
    assert measurement("once", "s", [7]) == Measurement("once", "s", 7, 7, 7, 1)


def test_a_ratio_is_of_the_medians_and_its_extremes_are_of_single_turns() -> None:
    """A turn in which the machine was slow for both tells nothing about either."""
    assert ratio("a / b", [6, 60, 10], [3, 20, 4]) == Measurement("a / b", "times", 10 / 4, 2, 3, 3)
    assert ratio("a / b", [6, 60, 8], [3, 20, 2]) == Measurement("a / b", "times", 8 / 3, 2, 4, 3)


def test_functions_are_called_in_turns_after_two_calls_for_warming_up() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = interleave(functions, 3, CPU, before=lambda name: calls.append(name.upper()))
    assert "".join(calls) == "AaaBbb" + 3 * "AaaBbb", "a turn begins with a call that is not timed"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert all(value > 0 for values in seconds.values() for value in values)


def test_quick_functions_fill_a_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock on which each of its readings and each call of the function take a second."""
    clock = SimpleNamespace(now=0)

    def tick() -> int:
        clock.now += 1
        return clock.now

    monkeypatch.setattr(timing, "LEAST_SECONDS", 10)
    monkeypatch.setattr(timing.time, "perf_counter", tick)
    calls: list[int] = []
    seconds = interleave({"a": lambda: calls.append(tick())}, 2, CPU)
    assert len(calls) == 2 + 2 * 5  # a call takes 2 seconds by its measurement, so 5 fill 10
    assert seconds["a"] == [6 / 5, 6 / 5]


def test_one_thread_for_the_block_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


class Owner:
    """A class with a method, as a model has."""

    def double(self, value: int) -> int:
        return 2 * value


def test_functions_are_replaced_for_the_block_alone() -> None:
    owner = Owner()
    for place in (owner, Owner, statistics):
        name = "median" if place is statistics else "double"
        before, own = getattr(place, name), dict(vars(place))
        with pytest.raises(ZeroDivisionError), replaced(place, name, lambda function: lambda *args: "replaced"):
            assert getattr(place, name)(1) == "replaced"
            raise ZeroDivisionError
        assert getattr(place, name) == before
        assert dict(vars(place)) == own
    with pytest.raises(AttributeError), replaced(owner, "treble", lambda function: function):
        pass


def test_results_are_recorded() -> None:
    owner = Owner()
    with recorded(owner, "double") as results:
        assert [owner.double(1), owner.double(value=4)] == [2, 8]
    owner.double(5)
    assert results == [2, 8]
