"""The commands of `frcnn`: registers the stages."""

from typing import Annotated

import typer

import frcnn

from . import (
    anchors,
    check,
    demo,
    detect,
    download,
    evaluate,
    export,
    import_weights,
    init,
    models,
    predict,
    preset,
    render,
    report,
    run,
    train,
)
from .terminal.console import say


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"frcnn {frcnn.__version__}")
        raise typer.Exit


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
PIPELINE = (download, anchors, train, detect, evaluate, render, report)
for module in (*PIPELINE, init, run, demo, preset, check, predict, models, import_weights, export):
    app.command(module.__name__.rpartition(".")[2].replace("_", "-"))(module.run)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Faster R-CNN as a pipeline of stages; add --debug to any command for tracebacks."""
