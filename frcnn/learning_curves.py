"""The log of a phase of training while it runs: as a table, as a picture, and for TensorBoard."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frcnn.files import atomic_path, write_text
from frcnn.training.log import COLUMNS, Row

# Panels of the picture, and the columns that each shows.
PANELS = {
    "Loss": ("loss", *(name for name in COLUMNS if name.startswith("loss_")), "val_loss"),
    "Learning rate": ("learning_rate",),
    "Validation mAP": ("val_mAP",),
}


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
        write_text(
            path.with_suffix(".csv"), pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")
        )
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
