"""The progress of a phase of training: a bar on a terminal, elsewhere a line an epoch and at least one a minute."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.live import Live
from rich.text import Text

from frcnn.distributed import is_main
from frcnn.training.loop import Job, Report
from frcnn.training_lines import TrainingLines

from .console import error_console, progress


class TrainingBar(TrainingLines):
    """Shows the same on a terminal, below a bar that knows the time left."""

    def __init__(self, job: Job, tell: Callable[[str], None]) -> None:
        """Make the bar."""
        super().__init__(job, tell)
        self.bar, self.status = progress(), Text()
        self.task = self.bar.add_task(f"phase {job.number}", total=None)

    def show(self, report: Report, ended: bool) -> None:
        """Move the bar."""
        self.status.plain = self.state(report)
        self.bar.update(self.task, description=self.place(report), completed=report.step, total=report.steps)


@contextmanager
def training_progress(job: Job, tell: Callable[[str], None]) -> Iterator[TrainingLines]:
    """Yield what shows the progress of a phase while the block runs: by lines, or on a terminal as a bar."""
    if not error_console.is_terminal or not is_main():
        yield TrainingLines(job, tell)
        return
    shown = TrainingBar(job, tell)
    with Live(Group(shown.bar, shown.status), console=error_console, transient=True):
        yield shown
