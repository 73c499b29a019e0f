"""`frcnn demo`: the whole pipeline on drawn pictures, as a DVC project in its own folder."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from frcnn.errors import UserError

from .evaluate import print_table
from .terminal.console import say
from .terminal.options import FrameworkName
from .terminal.stage_process import print_results, run_stage

STAGES = ("download", "anchors", "train_phase1", "train_phase2", "detect", "evaluate", "render", "report")
MARKER = ".frcnn-demo"  # tells a demo folder from any other DVC project
# DVC, which gets no signal before it can end by it without a traceback.
DVC = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
from frcnn.signals import let_through
let_through()
from dvc.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
code = main(sys.argv[1:])
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.exit(code)
"""
DVC_REPRO = [sys.executable, "-c", DVC, "repro", "--single-item"]


def run(
    folder: Annotated[Path, typer.Argument(help="Where the demo lives; made if absent, continued if there.")] = Path(
        "demo"
    ),
    framework: Annotated[
        FrameworkName | None, typer.Option("--framework", help="Default: that of FOLDER; in a new one torch.")
    ] = None,
) -> None:
    """Read nothing; generate a dataset, train, evaluate and report, and write every file of the pipeline to FOLDER."""
    from frcnn.files import locked

    prepare_folder(folder, framework.value if framework else None)
    with locked(folder / ".dvc" / "frcnn-demo.lock", wait=False) as alone:
        if not alone:
            raise UserError(f"{folder}: another demo is running here; wait for it or stop it")
        remove_broken(folder)
        seconds = {stage: run_stage(stage, [*DVC_REPRO, stage], f"frcnn demo {folder}", folder) for stage in STAGES}
    print_table(folder / "metrics")
    print_results(seconds, folder)


def prepare_folder(folder: Path, framework: str | None = None) -> None:
    """Make FOLDER a DVC project of its own: the pipeline and the demo's parameters.

    An edited params.yaml is the user's and stays.

    Raises:
        UserError: the folder holds something else, or was made with another framework.
    """
    from frcnn.files import write_text
    from frcnn.params import load_params
    from frcnn.presets import commented_params
    from frcnn.template import write_project

    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).exists())):
        raise UserError(f"{folder}: exists and is no demo; name another folder")
    parameters = folder / "params.yaml"
    if framework and parameters.exists() and load_params(parameters).train.framework != framework:
        raise UserError(f"{parameters}: has another train.framework than {framework}; edit it, or name another folder")
    write_text(folder / MARKER, "Made by `frcnn demo`, which replaces dvc.yaml in here.\n")
    changes = {section: {"framework": framework} for section in ("train", "detect")} if framework else {}
    write_project(folder, commented_params("demo", changes), Path(__file__).parent)


def remove_broken(folder: Path) -> None:
    """Remove what DVC refuses to read after it was killed: files that it writes in place, and does without."""
    import json

    import yaml
    from dvc.rwlock import SCHEMA, Invalid
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    lock, running = folder / "dvc.lock", folder / ".dvc" / "tmp" / "rwlock"
    for path, load, check in ((lock, yaml.safe_load, COMPILED_LOCKFILE_SCHEMA), (running, json.loads, SCHEMA)):
        try:
            content = check(load(path.read_text(encoding="utf-8")))
            whole = path == running or "stages" in content
        except FileNotFoundError:
            continue
        except (ValueError, RecursionError, yaml.YAMLError, Invalid):
            whole = False
        if not whole:
            path.unlink()
            say(f"{path}: damaged, so removed; DVC writes it anew and reruns what it has not kept")
