"""`frcnn demo`: the whole pipeline on drawn pictures, as a DVC project in its own folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.params import FRAMEWORKS, load_params

from .terminal.console import say

ROOT = Path(__file__).resolve().parent.parent
STAGES = ("download", "anchors", "train_phase1", "train_phase2", "detect", "evaluate", "render")
MARKER = ".frcnn-demo"  # tells a demo folder from any other DVC project
LINKED = ("dvc.yaml", "frcnn", "stages")
DVC_CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"


def run(
    folder: Annotated[Path, typer.Argument(help="Where the demo lives; made if absent, continued if there.")] = Path(
        "demo"
    ),
    framework: Annotated[
        str | None, typer.Option("--framework", help="torch or tensorflow; default: torch in a new FOLDER.")
    ] = None,
) -> None:
    """Read nothing, draw a dataset, train, evaluate and render in FOLDER; write what the pipeline writes there."""
    if framework not in (None, *FRAMEWORKS):
        raise UserError(f"--framework {framework}: choose from {', '.join(FRAMEWORKS)}")
    prepare_folder(folder, framework)
    seconds = {stage: _reproduce(folder, stage) for stage in STAGES}
    _summarize(folder, seconds)


def prepare_folder(folder: Path, framework: str | None = None) -> None:
    """Make FOLDER a DVC project of its own: this checkout's code and pipeline, the demo's parameters.

    An edited params.yaml is the user's and stays.

    Raises:
        UserError: the folder holds something else, or was made with another framework, or the package is not installed
            from a checkout.
    """
    if not (ROOT / "dvc.yaml").is_file():
        raise UserError("frcnn demo needs the project's dvc.yaml: clone the repository and `pip install -e .` there")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).exists())):
        raise UserError(f"{folder}: exists and is no demo; name another folder")
    parameters = folder / "params.yaml"
    if framework and parameters.exists() and load_params(parameters).train.framework != framework:
        raise UserError(f"{parameters}: has another train.framework than {framework}; edit it, or name another folder")
    write_text(folder / MARKER, "Made by `frcnn demo`, which replaces dvc.yaml, frcnn and stages in here.\n")
    write_text(folder / ".dvc" / "config", DVC_CONFIG)
    shutil.copy(ROOT / ".dvcignore", folder)
    if not parameters.exists():
        text = (ROOT / "params.demo.yaml").read_text(encoding="utf-8")
        write_text(parameters, text.replace("framework: torch", f"framework: {framework or 'torch'}"))
    for name in LINKED:
        _link(ROOT / name, folder / name)


def _link(source: Path, link: Path) -> None:
    """Link to `source`, or copy it where links are refused."""
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        shutil.rmtree(link)
    try:
        link.symlink_to(source, target_is_directory=source.is_dir())
    except OSError:
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, link)


def _reproduce(folder: Path, stage: str) -> float:
    """Have DVC bring a stage up to date; return the seconds it took."""
    binaries = Path(sys.executable).parent  # of this environment, which need not be activated
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    start = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage]
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        status = process.wait()
    except SystemExit as stop:
        if stop.code == 128 + signal.SIGTERM:  # Ctrl-C has reached DVC and the stage already
            process.terminate()
        process.wait()
        raise
    if status:
        raise UserError(f"stage {stage} failed, see above; `frcnn demo {folder}` goes on from there")
    return time.monotonic() - start


def _summarize(folder: Path, seconds: dict[str, float]) -> None:
    from .evaluate import print_table

    print_table(folder / "metrics")
    say("".join(f"\n{stage:<14}{spent:6.1f} s" for stage, spent in seconds.items()).lstrip("\n"))
    say(f"{'all':<14}{sum(seconds.values()):6.1f} s\n")
    say(f"curves    {folder / 'data' / 'pr_curves.png'}")
    for path in sorted((folder / "data" / "renders").glob("*.png")):
        say(f"picture   {path}")
