"""The progress of a phase of training in lines of text."""

import time
from collections.abc import Callable
from datetime import timedelta

from frcnn.training.log import Row
from frcnn.training.loop import Job, Report

SECONDS = 60  # between lines


class TrainingLines:
    """Says where a phase is: losses, learning rate, images per second, time left, last mAP in validation."""

    def __init__(self, job: Job, tell: Callable[[str], None]) -> None:
        """Begin to measure at the first step; `tell` prints a line."""
        self.job, self.tell, self.said = job, tell, time.monotonic()
        self.first: tuple[float, Report] | None = None
        self.last: Report | None = None
        self.seen = self.training = 0.0  # when the last report came; seconds spent in steps, not in validation
        self.score: float | None = None

    def on_step(self, report: Report) -> None:
        """Take the report of a step, or once more the last one in validation."""
        now = time.monotonic()
        if self.first is None:
            self.first = now, report
        elif self.last and report.step > self.last.step:
            self.training += now - self.seen
        self.seen, self.last = now, report
        self.show(report, ended=False)

    def on_rows(self, rows: list[Row], epoch_ended: bool) -> None:
        """Take the rows of the log."""
        self.score = next((row["val_mAP"] for row in reversed(rows) if "val_mAP" in row), None)
        if self.last and epoch_ended:
            self.show(self.last, ended=True)

    def show(self, report: Report, ended: bool) -> None:
        """Print a line if an epoch has ended, or a minute passed since the last one."""
        if ended or self.seen - self.said >= SECONDS:
            self.said = self.seen
            place = f"{self.place(report)}, step {report.step}/{report.steps}"
            self.tell(f"{place}: {self.state(report)}, {self.left(report)} left")

    def place(self, report: Report) -> str:
        """Return phase and epoch."""
        return f"phase {self.job.number}, epoch {report.epoch}/{self.job.phase.epochs}"

    def state(self, report: Report) -> str:
        """Return losses (means since the last row of the log), rate, speed and the last score, if there is one."""
        losses = {name.removeprefix("loss_"): f"{value:.4f}" for name, value in report.losses.items()}
        total = losses.pop("loss")
        images = report.images - self.first[1].images if self.first else 0
        speed = f"{images / self.training:.1f}" if self.training else "-"
        score = "" if self.score is None else f", val mAP {self.score:.4f}"
        parts = " ".join(f"{name} {value}" for name, value in losses.items())
        return f"loss {total} ({parts}), rate {report.learning_rate:.3g}, {speed} img/s{score}"

    def left(self, report: Report) -> str:
        """Return the time that the phase will take from now on, validation included."""
        if self.first is None or report.step == self.first[1].step:
            return "-"
        a_step = (self.seen - self.first[0]) / (report.step - self.first[1].step)
        return str(timedelta(seconds=round(a_step * (report.steps - report.step))))
