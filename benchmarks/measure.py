"""Time functions side by side on a machine that others may disturb, count their arithmetic, describe the machine."""

import datetime
import gc
import math
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
import torchvision
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils import collect_env
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from frcnn import allocation

MICROSECONDS = 1e6  # in a second
MEBIBYTE = 2**20
LEAST_SECONDS = 0.3  # of a repetition; a quicker function is called several times in it
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}  # large enough for the device's full rate
WHOLE = "step"  # the region around all others
ENGINE = "autograd::engine::evaluate_function"  # prefix of what runs in the backward pass


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
    return measurement(what, "ms", [second * 1000 for second in seconds])


def rate(what: str, unit: str, amount: float, seconds: Sequence[float]) -> Measurement:
    """Summarize how much of something is done per second."""
    return measurement(what, unit, [amount / second for second in seconds])


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
    threads = torch.get_num_threads()
    timers = {name: Timer("call()", globals={"call": call}, num_threads=threads) for name, call in functions.items()}
    calls: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):  # the first decides how often a function is called in the others
        for name, timer in timers.items():
            before(name)
            mean = timer.timeit(calls.get(name, 1)).mean
            if turn:
                seconds[name].append(mean)
            else:
                calls[name] = calls_per_repetition(mean)
    return seconds


def calls_per_repetition(seconds: float) -> int:
    """Return how often a function that takes this long is called in one repetition."""
    return max(1, math.ceil(LEAST_SECONDS / seconds))


def seconds_by_region(
    step: Callable[[], Any], regions: Sequence[str], repeats: int, device: torch.device
) -> dict[str, float]:
    """Return the mean seconds per call that `record_function` regions take, and under "other" the rest.

    On CUDA they are the sums of the times of the kernels that a region launches.
    """
    cuda = device.type == "cuda"
    step()
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda) as trace:
        for _ in range(repeats):
            with record_function(WHOLE):
                step()
    events = [event for event in trace.key_averages() if event.device_type.name == "CPU"]
    totals = {event.key: event.device_time_total if cuda else event.cpu_time_total for event in events}
    if cuda:  # autograd launches kernels from a thread of its own, which is in no region
        launched = sum(time for key, time in totals.items() if key.startswith(ENGINE))
        totals |= {name: totals[name] + launched for name in ("backward", WHOLE) if name in totals}
    seconds = {name: totals[name] / MICROSECONDS / repeats for name in regions if name in totals}
    return seconds | {"other": totals[WHOLE] / MICROSECONDS / repeats - sum(seconds.values())}


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute by one thread, as in a process that loads pictures."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak begin at what is in use now; that of a process on the CPU cannot be reset."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> float:
    """Return in MiB the most that tensors took on a CUDA device, or the most that this process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    return allocation.peak_memory()


def describe(device: torch.device) -> dict[str, str]:
    """Return what a reader of the figures must know about machine and software."""
    cpu = re.search(r"^Model name: *(.+)", collect_env.get_cpu_info(collect_env.run) or "", re.MULTILINE)
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu[1].strip() if cpu else platform.processor(),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }
