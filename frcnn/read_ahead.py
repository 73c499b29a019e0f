"""Map a function over threads that work ahead of whoever uses the results."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(function: Callable[[T], R], items: Iterable[T], threads: int = 2, finish: bool = False) -> Iterator[R]:
    """Yield the result for each item, in order; at most `threads` results beside that one are in memory.

    What the function raises is raised where its result would come. The items are asked for in the caller's thread.

    Args:
        finish: wait at the end, even after an error or a signal, for what has begun, so that no file is half-written.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=finish, cancel_futures=True)  # a signal does not wait for a slow server
