"""What the commands print: one console, one style of progress bar; nothing reaches the terminal that steers it."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from frcnn.messages import printable

console = Console(emoji=False)
error_console = Console(stderr=True, emoji=False)
SECONDS = 60  # between lines of progress where there is no terminal
T = TypeVar("T")


def say(text: str) -> None:
    """Print one plain line (no markup, no wrapping)."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def cell(text: str) -> Text:
    """Return what a table shows of a name from a file."""
    return Text(printable(text))


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def report_error(error: Exception) -> None:
    """Print each line of an error as a line of its own."""
    for line in map(str, error.args or (error,)):
        text = printable(" ".join(line.split()))
        error_console.print(f"error: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


def progress(*extra: str) -> Progress:
    """Return a progress bar that vanishes when done; `extra` are further column templates."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *(TextColumn(template) for template in extra),
        TimeRemainingColumn(),
        console=error_console,
        transient=True,
        disable=not error_console.is_terminal,  # it would leave a blank line in a log
    )


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield from `items` with a progress bar; without a terminal the main process says a line a minute."""
    began = said = time.monotonic()
    told = not error_console.is_terminal and os.environ.get("RANK", "0") == "0"
    with progress() as bar:
        task = bar.add_task(printable(description), total=total)
        for done, item in enumerate(items, 1):
            yield item
            bar.advance(task)
            now = time.monotonic()
            if told and now - said >= SECONDS:
                said, speed = now, done / (now - began)
                left = timedelta(seconds=round((total - done) / speed))
                say(f"{description}: {done} of {total}, {speed:.2g}/s, {left} left")


@contextmanager
def amount_bar(description: str, unit: str = "", scale: float = 1) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar; yield the function (done, total or None) that moves it."""
    with progress(unit) as bar:
        task = bar.add_task(printable(description), total=None)
        yield lambda done, total: bar.update(task, completed=done * scale, total=total and total * scale)
