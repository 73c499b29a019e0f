"""Map a function over processes."""

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
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=chunksize)
