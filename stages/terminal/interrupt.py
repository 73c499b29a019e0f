"""Ctrl-C, SIGTERM and the death of the parent: noted at once, granted where nothing is lost by it.

Almost everywhere that is at once, by SystemExit, so that half-written files are removed. Not amid an import,
whose state or error others would take for something else; and where SystemExit got swallowed it is raised again.
"""

import _thread
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from frcnn.signals import SIGNALS, held_back, let_through

PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
ECHO = 1.0  # seconds within which a signal is the same one again: a parent of many threads dies once for each
AGAIN = 0.1  # seconds until a stop that was not granted, or got swallowed, is tried again
# What an exception must not cut short: an import, the start of a process.
WHOLE = ("<frozen importlib._bootstrap>", "popen_spawn_posix.py", "popen_spawn_win32.py", "popen_forkserver.py")


class Stop:
    """What is known of the signal that asked to stop, if any."""

    received: int | None = None
    since = 0.0
    held = False  # whether to note a signal only
    alarmed = False  # whether the next call of `on_signal` is the alarm's
    raised: SystemExit | None = None

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self.received is not None


stop = Stop()


def handle_signals() -> None:
    """Have SIGINT and SIGTERM end this process by SystemExit from now on, and those that `start` held back."""
    vars(stop).clear()
    for number in SIGNALS:
        signal.signal(number, on_signal)
    let_through()


def on_signal(number: int, frame: FrameType | None) -> None:
    """Note a signal; leave by an exception where that does no harm, else when the alarm calls again.

    A later signal ends what holds the first one back: a wish to stop is granted at once, an exit is cut short.
    """
    alarmed, stop.alarmed = stop.alarmed, False
    if not alarmed:
        now = time.monotonic()
        if stop.received is None:
            stop.received, stop.since = number, now
            sys.unraisablehook = lambda unraisable: None  # where Python says what it swallowed
        elif now - stop.since > ECHO:
            if not stop.held:
                os._exit(128 + number)
            stop.held, stop.since = False, now
    if stop.held or stop.received is None:
        return
    _set_alarm()
    if not _in_whole(frame) and not _leaving():
        stop.raised = SystemExit(128 + stop.received)
        raise stop.raised


def _set_alarm() -> None:
    """Have `on_signal` called again soon; on Windows, which has no such timer, by a thread that simulates a Ctrl-C."""
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _on_alarm)
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        timer = threading.Timer(AGAIN, _simulate)
        timer.daemon = True
        timer.start()


def _on_alarm(number: int, frame: FrameType | None) -> None:
    stop.alarmed = True
    on_signal(number, frame)


def _simulate() -> None:
    if stop():
        stop.alarmed = True
        _thread.interrupt_main()


def _in_whole(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.endswith(WHOLE):
        frame = frame.f_back
    return frame is not None


def _leaving() -> bool:
    """Tell whether what runs now is a `finally`, `except` or `with` that the SystemExit has reached."""
    error = sys.exception()
    while error is not None and error is not stop.raised:
        error = error.__context__
    return error is not None


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Note signals instead of leaving by them; after the block, what follows a signal is let to its end."""
    before, stop.held = stop.held, True
    try:
        yield stop
    finally:
        stop.held = before or stop()


def exit_by_signal() -> None:
    """Ignore signals from now on; if there was one, say so and exit as the shell does, whatever else happened."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if stop.received is not None:
        with suppress(OSError):
            if not launched():  # else the launcher says so
                print(f"stopped by {signal.Signals(stop.received).name}", file=sys.stderr)
        raise SystemExit(128 + stop.received)


def launched() -> bool:
    """Tell whether a launcher started this process as one of a number (which may be 1)."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def leave(code: int) -> None:
    """End this process at once: after an error torch's own end of a group may wait for the others, or abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def stop_with_parent() -> None:
    """Have SIGTERM sent to this process when its parent dies: DVC does not wait for a killed child (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(command: list[str], environment: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one (Linux); signals to it wait until it calls `handle_signals`."""
    prepare = stop_with_parent if sys.platform == "linux" else None
    with held_back():
        return subprocess.Popen(command, env=environment, preexec_fn=prepare, **options)
