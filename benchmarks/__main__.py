"""Command `bench`: how fast this machine trains and detects, and where the time goes."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frcnn.errors import UserError
from frcnn.params import FRAMEWORKS, Params, load_params
from stages.terminal.options import Device, Overrides, ParamsFile

if TYPE_CHECKING:
    from rich.table import Table

    from benchmarks.setup import Setup
    from benchmarks.timing import Measurement

RIVAL = "torchvision"
HELP = [sys.executable, "-c", "from stages.cli import main; main()", "--help"]


def run(
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="Default: that of the parameters.")] = None,
    size: Annotated[str, typer.Option("--size", metavar="HEIGHTxWIDTH", help="Of the network's input.")] = "600x800",
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Images a step; default: of the parameters.")
    ] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="float32, bf16 or auto; default: ditto.")] = None,
    against: Annotated[str | None, typer.Option("--against", help=f"{RIVAL}: time its nearest model, too.")] = None,
    framework: Annotated[str, typer.Option("--framework", help="tensorflow: time our network there, too.")] = "torch",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed repetitions.")] = 5,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Some of detection,training,loading,anchors,evaluation,startup; default: all."),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Images of the evaluation.")] = 4952,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("bench.csv"),
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option("--workers", min=0, help="As of `frcnn train`.")] = None,
) -> None:
    """Read the parameters, time the detector with random weights on drawn pictures, write the figures to a CSV file."""
    width_height = _parse_size(size)
    params = _params(params_file, overrides, backbone, precision)

    import tempfile

    from benchmarks.inputs import draw_pictures, fit_params
    from benchmarks.machine import describe
    from benchmarks.setup import Setup
    from benchmarks.suite import PARTS
    from frcnn.files import write_text
    from frcnn.pytorch.device import choose_device, choose_precision
    from stages.terminal.console import console, say
    from stages.train import loading_workers

    parts = _chosen(only, list(PARTS))
    if against not in (None, RIVAL):
        raise UserError(f"--against {against}: only {RIVAL} is known")
    if framework not in FRAMEWORKS:
        raise UserError(f"--framework {framework}: choose from {', '.join(FRAMEWORKS)}")
    params = fit_params(params, width_height, batch or params.train.batch_size)
    chosen = choose_device(device)
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(
            params=params,
            annotations=draw_pictures(Path(folder), width_height, params.data),
            scratch=Path(folder),
            device=chosen,
            precision=choose_precision(params.train.precision, chosen),
            repeats=repeats,
            workers=loading_workers(chosen.type, 1) if workers is None else workers,
            against_torchvision=against == RIVAL,
            against_keras=framework == "tensorflow",
            evaluated_images=images,
            help_command=HELP,
        )
        about = describe(chosen) | _describe(setup, size)
        say(", ".join(f"{key} {value}" for key, value in about.items() if value))
        rows: list[dict[str, Any]] = []
        for part in parts:
            for title, measurements in PARTS[part](setup).items():
                console.print(_table(title, measurements))
                rows += [{"part": title} | vars(measurement) | about for measurement in measurements]
    write_text(out, _csv(rows))
    say(f"{out}: {len(rows)} figures")


def _params(path: Path, overrides: list[str] | None, backbone: str | None, precision: str | None) -> Params:
    chosen = {"model.backbone": backbone, "train.precision": precision}
    return load_params(path, [*(overrides or ()), *(f"{key}={value}" for key, value in chosen.items() if value)])


def _chosen(only: str | None, known: list[str]) -> list[str]:
    """Return the parts that are asked for, in the order in which they run."""
    wanted = known if only is None else only.split(",")
    for name in wanted:
        if name not in known:
            raise UserError(f"--only {only}: no part is called {name!r}; known: {', '.join(known)}")
    return [name for name in known if name in wanted]


def _parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of a text that names the height first."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"--size {text}: write HEIGHTxWIDTH in pixels, as 600x800")
    return int(width), int(height)


def _describe(setup: "Setup", size: str) -> dict[str, str]:
    return {
        "backbone": setup.params.model.backbone,
        "size": size,
        "batch": str(setup.batch_size),
        "precision": str(setup.precision).removeprefix("torch."),
        "device": str(setup.device),
    }


def _table(title: str, measurements: "list[Measurement]") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.add_column("what")
    for column in ("median", "low", "high"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for row in measurements:
        extremes = (_number(row.low), _number(row.high)) if row.repeats > 1 else ("", "")
        table.add_row(row.what, _number(row.median), *extremes, row.unit)
    return table


def _number(value: float) -> str:
    """Return a number with three significant digits, or all those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _csv(rows: list[dict[str, Any]]) -> str:
    import pandas as pd

    return pd.DataFrame(rows).to_csv(index=False, float_format="%.6g")
