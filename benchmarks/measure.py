"""Time functions side by side on a machine that others may disturb, and say what machine it is."""

import datetime
import gc
import math
import platform
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.benchmark import Timer

MILLISECONDS = 1000  # in a second
MICROSECONDS = 1e6
MEBIBYTE = 2**20
WHOLE = "step"  # the region around all others
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


Tables = dict[str, list[Measurement]]  # by title


def measurement(what: str, unit: str, values: Sequence[float]) -> Measurement:
    """Summarize the repetitions of one measurement, at least one."""
    return Measurement(what, unit, median(values), min(values), max(values), len(values))


def milliseconds(what: str, seconds: Sequence[float]) -> Measurement:
    """Summarize times."""
    return measurement(what, "ms", [second * MILLISECONDS for second in seconds])


def ratio(what: str, dividends: Sequence[float], divisors: Sequence[float]) -> Measurement:
    """Return the ratio of the medians, with the extremes of the ratios within each turn."""
    turns = [dividend / divisor for dividend, divisor in zip(dividends, divisors, strict=True)]
    return Measurement(what, "times", median(dividends) / median(divisors), min(turns), max(turns), len(turns))


def interleave(
    functions: Mapping[str, Callable[[], Any]], repeats: int, before: Callable[[str], None] = lambda name: None
) -> dict[str, list[float]]:
    """Return the seconds that a call of each function takes, one value per repetition.

    They are timed in turns (a, b, a, b ...), so that a disturbance of the machine affects all. `Timer.timeit` calls a
    function twice before it measures, so that each finds memory and caches as it leaves them itself, and waits for
    CUDA at the end.

    Args:
        before: called with a function's name at the beginning of its turn, and not timed.
    """
    timers = {
        name: Timer("function()", globals={"function": function}, num_threads=torch.get_num_threads())
        for name, function in functions.items()
    }
    calls = {}
    for name, timer in timers.items():
        before(name)
        calls[name] = calls_per_repetition(timer.timeit(1).mean)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, timer in timers.items():
            before(name)
            seconds[name].append(timer.timeit(calls[name]).mean)
    return seconds


def calls_per_repetition(seconds: float) -> int:
    """Return how often a function that takes this long is called in one repetition."""
    return max(1, math.ceil(LEAST_SECONDS / seconds))


def seconds_by_region(
    step: Callable[[], Any], regions: Sequence[str], repeats: int, device: torch.device
) -> dict[str, float]:
    """Return the mean seconds per call that `record_function` regions take, and under "other" the rest."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    step()
    with profile(activities=activities) as trace:
        for _ in range(repeats):
            with record_function(WHOLE):
                step()
    totals = {event.key: event.device_time_total if cuda else event.cpu_time_total for event in trace.key_averages()}
    seconds = {name: totals[name] / MICROSECONDS / repeats for name in regions if name in totals}
    return seconds | {"other": totals[WHOLE] / MICROSECONDS / repeats - sum(seconds.values())}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute by one thread, as in a process that loads pictures."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe(device: torch.device) -> dict[str, str]:
    """Return what a reader of the figures must know about machine and software."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": _cpu_name(),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak begin at what is in use now; that of a process on the CPU cannot be reset."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """Return in MiB the most that tensors took on a CUDA device, or the most that this process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEBIBYTE if sys.platform == "darwin" else peak / 1024  # bytes there, KiB elsewhere


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
