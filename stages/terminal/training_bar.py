"""The progress of a phase of training on the terminal."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.text import Text

from frcnn.distributed import is_main
from frcnn.training.loop import Job, Report

from .console import error_console, progress


@contextmanager
def training_bar(job: Job) -> Iterator[Callable[[Report], None]]:
    """Yield a function that shows the phase's progress and time left, and below it the losses and the speed."""
    bar, status = progress(), Text()
    task = bar.add_task(f"phase {job.number}", total=None)
    start: tuple[float, int] | None = None

    def show(report: Report) -> None:
        nonlocal start
        start = start or (time.monotonic(), report.images)
        seconds, images = time.monotonic() - start[0], report.images - start[1]
        losses = " ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in report.losses.items())
        status.plain = f"{losses} {images / seconds if seconds else 0:.1f} img/s"
        epoch = f"phase {job.number}, epoch {report.epoch}/{job.phase.epochs}"
        bar.update(task, description=epoch, completed=report.step, total=report.steps)

    if not error_console.is_terminal or not is_main():
        yield show
        return
    with Live(Group(bar, status), console=error_console, transient=True):
        yield show
