"""Map a function over processes."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context


@contextmanager
def mapper(workers: int, chunksize: int = 16) -> Iterator[Callable]:
    """Yield a `map` that keeps the order and uses `workers` processes (with fewer than 2: this one).

    The processes are spawned, since a fork of a process with threads (a progress bar's) may hang.
    """
    if workers < 2:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_interrupt) as pool:
        try:
            yield partial(pool.map, chunksize=chunksize)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _ignore_interrupt() -> None:
    """Leave Ctrl-C, which reaches the whole process group, to the process that maps."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
