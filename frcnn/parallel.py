"""Map a function over processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess

from frcnn.signals import held_back, let_through


class _Process(SpawnProcess):
    """A process that never sees Ctrl-C, which reaches the whole group: that is left to the process that maps."""

    def start(self) -> None:
        """Start with signals held back."""
        with held_back():
            super().start()


class _Context(SpawnContext):
    Process = _Process


@contextmanager
def mapper(workers: int, chunksize: int = 16) -> Iterator[Callable]:
    """Yield a `map` that keeps the order and uses `workers` processes (with fewer than 2: this one).

    The processes are spawned, since a fork of a process with threads (a progress bar's) may hang.
    """
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=_Context(), initializer=_depend_on_parent) as pool:
        try:
            yield partial(pool.map, chunksize=chunksize)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _depend_on_parent() -> None:
    """End by SIGTERM, and when the process that maps has ended, even if that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_through([signal.SIGTERM])
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
