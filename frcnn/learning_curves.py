"""What is seen of a phase of training while it runs: lines, its log as a table, as a picture, and for TensorBoard."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frcnn.files import atomic_path, write_text
from frcnn.training.log import COLUMNS, Row
from frcnn.training.loop import Job, Report

SECONDS = 60  # between lines
# Panels of the picture, and the columns that each shows.
PANELS = {
    "Loss": ("loss", *(name for name in COLUMNS if name.startswith("loss_")), "val_loss"),
    "Learning rate": ("learning_rate",),
    "Validation mAP": ("val_mAP",),
}


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


def recorder(path: Path, validated: bool, tensorboard: Path | None = None) -> Callable[[list[Row], bool], None]:
    """Return a function that takes all rows so far, and whether the last ends an epoch.

    It writes `path` with .csv, at the end of an epoch also with .png; and scalars of every row into a folder of
    TensorBoard, where they replace those of an earlier run.

    Args:
        validated: whether there will be results of validation, as every state of the file has the same columns.

    Raises:
        UserError: from the returned function: a file cannot be written.
    """
    write_scalars = _scalars(tensorboard) if tensorboard else lambda rows: None

    def record(rows: list[Row], epoch_ended: bool) -> None:
        columns = [name for name in COLUMNS if validated or not name.startswith("val_")]
        write_text(path.with_suffix(".csv"), pd.DataFrame(rows, columns=columns).to_csv(index=False))
        if epoch_ended:
            draw_rows(path.with_suffix(".png"), rows)
        write_scalars(rows)

    return record


def draw_rows(path: Path, rows: list[Row]) -> None:
    """Draw losses, learning rate and, where there are any, results of validation against steps, as a PNG file.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    panels = [name for name, columns in PANELS.items() if any(column in row for column in columns for row in rows)]
    figure = Figure(figsize=(8, 2.6 * len(panels) + 0.6), dpi=100)
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(len(panels), sharex=True), panels, strict=True):
        _draw_panel(axes, name, rows)
    axes.set_xlabel("Step")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_panel(axes: Axes, title: str, rows: list[Row]) -> None:
    for name in PANELS[title]:
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), "o-" if len(points) == 1 or "val_" in name else "-", ms=3, label=name)
    axes.set(ylabel=title)
    axes.set_ylim(0, 1.05 * axes.dataLim.y1 if axes.dataLim.y1 > 0 else 1)  # a constant lies below the border
    axes.grid(color="0.88", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    if len(PANELS[title]) > 1:
        axes.legend(fontsize=8)


def _scalars(folder: Path) -> Callable[[list[Row]], None]:
    from torch.utils.tensorboard import SummaryWriter

    writer, written = SummaryWriter(str(folder), purge_step=0), 0

    def write(rows: list[Row]) -> None:
        nonlocal written
        for row in rows[written:]:
            for name in COLUMNS[3:]:  # what is neither a place nor a count
                if name in row:
                    writer.add_scalar(name, row[name], row["step"])
        written = len(rows)
        writer.flush()

    return write
