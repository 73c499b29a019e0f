"""Ctrl-C, SIGTERM and the death of the parent as a wish to stop, granted at the end of a step."""

import ctypes
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
ECHO = 1.0  # seconds within which a signal is the same one again: a parent of many threads dies once for each


class StopWish:
    """Holds the signal that asked to stop, if any."""

    received: int | None = None

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self.received is not None


@contextmanager
def stop_on_signal() -> Iterator[StopWish]:
    """Note SIGINT and SIGTERM instead of dying by them; a later one has its usual effect."""
    wish, since = StopWish(), 0.0
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if wish.received is None:
            wish.received, since = number, time.monotonic()
        elif time.monotonic() - since > ECHO:
            for each, handler in usual.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    for number in usual:
        signal.signal(number, note)
    try:
        yield wish
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def stop_with_parent() -> None:
    """Have SIGTERM sent to this process when its parent dies: DVC does not wait for a killed child (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
