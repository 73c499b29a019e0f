"""Time functions side by side on a machine that others may disturb: in turns, repeatedly, median and extremes."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

MILLISECONDS = 1000  # in a second
LEAST_SECONDS = 0.3  # of a repetition; a quicker function is called several times in it


@dataclass(frozen=True)
class Measurement:
    """Median of the repetitions and the extremes among them, in `unit`."""

    what: str
    unit: str
    median: float
    low: float
    high: float
    repeats: int


def measurement(what: str, unit: str, values: Sequence[float]) -> Measurement:
    """Sum up the repetitions of one measurement, at least one."""
    return Measurement(what, unit, median(values), min(values), max(values), len(values))


def ratio(what: str, dividends: Sequence[float], divisors: Sequence[float]) -> Measurement:
    """Return the ratio of the medians, with the extremes of the ratios within each turn."""
    turns = [dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)]
    return Measurement(what, "times", median(dividends) / median(divisors), min(turns), max(turns), len(turns))


def synchronize(device: torch.device) -> None:
    """Wait for everything that was asked of a CUDA device; the CPU does its work at once."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def interleave(
    functions: Mapping[str, Callable[[], Any]],
    repeats: int,
    device: torch.device,
    before: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Return the seconds that a call of each function takes, one value a repetition.

    After two calls of each for warming up, they are timed in turns (a, b, a, b ...), so that a disturbance of the
    machine hits all. Several functions each begin their turn with a call that is not timed, to find memory and caches
    as they leave them themselves. Between the calls of a repetition the host does not wait for the device.

    Args:
        before: called with a function's name at the beginning of its turn, and not timed.
    """
    calls = {}
    for name, function in functions.items():
        before(name)
        calls[name] = _warm_up(function, device)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            before(name)
            if len(functions) > 1:
                function()
            seconds[name].append(_seconds(function, calls[name], device))
    return seconds


def calls_a_repetition(seconds: float) -> int:
    """Return how often a function that takes so long is called in one repetition."""
    return max(1, math.ceil(LEAST_SECONDS / seconds))


def _warm_up(function: Callable[[], Any], device: torch.device) -> int:
    function()
    return calls_a_repetition(_seconds(function, 1, device))


def _seconds(function: Callable[[], Any], calls: int, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    for _ in range(calls):
        function()
    synchronize(device)
    return (time.perf_counter() - start) / calls


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute by one thread, as in a process that loads pictures."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def replaced(owner: Any, name: str, wrap: Callable[[Callable], Callable]) -> Iterator[None]:
    """Replace a function of a module, class or object by wrap(function) for the length of the block.

    Raises:
        AttributeError: it has none of this name.
    """
    own = name in vars(owner)
    original = getattr(owner, name)
    setattr(owner, name, wrap(original))
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


@contextmanager
def recorded(owner: Any, name: str) -> Iterator[list[Any]]:
    """Collect what a function of a module, class or object returns during the block."""
    results: list[Any] = []

    def wrap(function: Callable) -> Callable:
        def recording(*args: Any, **kwargs: Any) -> Any:
            results.append(function(*args, **kwargs))
            return results[-1]

        return recording

    with replaced(owner, name, wrap):
        yield results
