"""The logs of both phases of training in one plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frcnn.errors import UserError

LOG = "train_phase{}.csv"
INK = "#333333"  # of texts and axes; the page has another on a dark screen
PANELS = {"Loss": ("loss",), "Learning rate": ("learning_rate",), "Validation mAP": ("val_mAP",)}


def read_logs(metrics: Path) -> dict[int, pd.DataFrame]:
    """Return the log of each phase that has one with rows.

    Raises:
        UserError: a file is no log.
    """
    logs = {}
    for phase in (1, 2):
        path = metrics / LOG.format(phase)
        if not path.exists():
            continue
        try:
            log = pd.read_csv(path).apply(pd.to_numeric)
            if not np.isfinite(log[["step", "loss", "learning_rate"]].to_numpy(float)).all():
                raise ValueError("a number is missing")
        except (ValueError, KeyError, OSError) as error:
            raise UserError(f"{path}: no log of training ({error}); remove it, or train again") from error
        if len(log):
            logs[phase] = log
    return logs


def training_figure(logs: Mapping[int, pd.DataFrame]) -> Figure:
    """Draw losses, learning rate and results of validation against the steps of all phases."""
    columns = {name for log in logs.values() for name in log.columns[log.notna().any()]}
    panels = [name for name, shown in PANELS.items() if columns & set(shown)]
    figure = Figure(figsize=(8, 2.2 * len(panels) + 0.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    ends = [0]
    for log in logs.values():
        ends.append(ends[-1] + int(log["step"].max()))
    for axes, panel in zip(figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels, strict=True):
        parts = sorted(name for name in columns if name.startswith("loss_")) if panel == "Loss" else []
        names = [*PANELS[panel], *(["val_loss"] if panel == "Loss" and "val_loss" in columns else []), *parts]
        for i, name in enumerate(names):
            _draw(axes, list(logs.values()), ends, name, i)
        _decorate(axes, panel, ends, list(logs))
        if len(names) > 1:
            axes.legend(fontsize=8, frameon=False, labelcolor=INK, ncols=2)
    axes.set_xlabel("Step", color=INK)
    return figure


def _draw(axes: Axes, logs: Sequence[pd.DataFrame], ends: Sequence[int], name: str, index: int) -> None:
    shifted = [log.assign(step=log["step"] + start) for log, start in zip(logs, ends, strict=False)]
    points = pd.concat([log[["step", name]].dropna() for log in shifted if name in log])
    style = "o-" if name.startswith("val_") or len(points) == 1 else "-"
    width = 1 if name.startswith("loss_") else 1.8
    drawn = "steps-pre" if name == "learning_rate" else "default"  # a row has the rate of the steps before it
    axes.plot(points["step"], points[name], style, drawstyle=drawn, color=f"C{index}", lw=width, ms=3.5, label=name)


def _decorate(axes: Axes, title: str, ends: Sequence[int], phases: Sequence[int]) -> None:
    axes.set_ylabel(title, color=INK)
    axes.set_ylim(0, 1.05 * axes.dataLim.y1 if axes.dataLim.y1 > 0 else 1)  # a constant lies below the border
    axes.tick_params(color=INK, labelcolor=INK)
    axes.grid(color="#88888840", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    for phase, start in zip(phases, ends, strict=False):
        axes.axvline(start, color=INK, lw=0.8, ls=":")
        axes.annotate(f" phase {phase}", (start, 1), xycoords=("data", "axes fraction"), va="top", color=INK, size=8)
