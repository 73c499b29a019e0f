"""How fast this machine trains and detects, and where the time goes: python -m benchmarks --help."""

import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks import network, surroundings
from benchmarks.inputs import Setup, draw_pictures, fit_params
from benchmarks.measure import Measurement, describe
from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.params import load_params
from frcnn.pytorch.device import choose_device, choose_precision
from stages.terminal.console import report_error, say
from stages.terminal.options import Device, Overrides, ParamsFile

# In the order in which they run. The network first: what runs before would count in the process's peak memory.
PARTS = {
    "detection": network.detection,
    "training": network.training,
    "loading": surroundings.loading,
    "anchors": surroundings.anchors,
    "evaluation": surroundings.evaluation,
    "startup": surroundings.startup,
}


class Rival(StrEnum):
    """What else is timed."""

    torchvision = "torchvision"
    tensorflow = "tensorflow"


def run(
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    size: Annotated[str, typer.Option("--size", metavar="HEIGHTxWIDTH", help="Of the network's input.")] = "600x800",
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Images per step; default: train.batch_size.")
    ] = None,
    against: Annotated[
        list[Rival] | None,
        typer.Option("--against", help="Time torchvision's nearest model, or our network in TensorFlow, too."),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Timed repetitions.")] = 5,
    only: Annotated[str, typer.Option("--only", help="Parts to measure, separated by commas.")] = ",".join(PARTS),
    images: Annotated[int, typer.Option("--images", min=1, help="Images of the evaluation.")] = 4952,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("bench.csv"),
    device: Device = "auto",
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that load pictures in training.")] = 0,
) -> None:
    """Time the detector with random weights on generated pictures, and write the figures to a CSV file."""
    params = load_params(params_file, overrides or ())
    width_height, parts = _parse_size(size), _parse_parts(only)
    params = fit_params(params, width_height, batch or params.train.batch_size)
    chosen = choose_device(device)
    if chosen.type == "mps":
        raise UserError("--device mps: torch cannot say there how long a part takes; use --device cpu")
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(
            params=params,
            annotations=draw_pictures(Path(folder), width_height, params.data),
            scratch=Path(folder),
            device=chosen,
            precision=choose_precision(params.train.precision, chosen),
            repeats=repeats,
            workers=workers,
            rivals=against or (),
            evaluated_images=images,
        )
        about = describe(chosen) | {
            "backbone": params.model.backbone,
            "size": size,
            "batch": str(setup.batch_size),
            "precision": str(setup.precision).removeprefix("torch."),
            "device": str(chosen),
        }
        say(", ".join(f"{key} {value}" for key, value in about.items() if value))
        for part in parts:
            for title, measurements in PARTS[part](setup).items():
                for line in ("", title, *_table(measurements).splitlines()):
                    say(line)
                tables.append(pd.DataFrame(measurements).assign(**about))
                tables[-1].insert(0, "part", title)
    figures = pd.concat(tables)
    write_text(out, figures.to_csv(index=False, float_format="%.6g"))
    say("")
    say(f"{out}: {len(figures)} figures")


def _parse_parts(only: str) -> list[str]:
    """Return the parts that are asked for, in the order in which they run."""
    wanted = only.split(",")
    for name in wanted:
        if name not in PARTS:
            raise UserError(f"--only {only}: no part is called {name!r}; choose from {', '.join(PARTS)}")
    return [name for name in PARTS if name in wanted]


def _parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of a text that names the height first."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise UserError(f"--size {text}: write HEIGHTxWIDTH in pixels, such as 600x800")
    return int(width), int(height)


def _table(measurements: list[Measurement]) -> str:
    rows = []
    for row in measurements:
        extremes = (_number(row.low), _number(row.high)) if row.repeats > 1 else ("", "")
        rows.append((f"  {row.what:30}", _number(row.median), *extremes, row.unit))
    return pd.DataFrame(rows, columns=["", "median", "low", "high", "unit"]).to_string(index=False)


def _number(value: float) -> str:
    """Return a number with three significant digits, or all those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Run; exit 2 after a mistake in the input."""
    try:
        typer.run(run)
    except UserError as error:
        report_error(error)
        sys.exit(2)


if __name__ == "__main__":
    main()
