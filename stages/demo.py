"""`frcnn demo`: the whole pipeline on drawn pictures, as a DVC project in its own folder."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import frcnn
from frcnn.errors import UserError

from .terminal.console import say
from .terminal.interrupt import start, stop, stop_on_signal
from .terminal.launch import wait_for_all
from .terminal.options import FrameworkName

STAGES = ("download", "anchors", "train_phase1", "train_phase2", "detect", "evaluate", "render")
MARKER = ".frcnn-demo"  # tells a demo folder from any other DVC project
VERSION = "frcnn-version.txt"  # on which the stages depend instead of the code
DVC_CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
# DVC, which gets no signal before it can end by it without a traceback.
DVC = """
import os, signal, sys
signal.signal(signal.SIGINT, lambda number, frame: os._exit(130))
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
from dvc.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
code = main(sys.argv[1:])
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.exit(code)
"""
DVCIGNORE = "__pycache__\n*.pyc\n*.tmp\n"


def run(
    folder: Annotated[Path, typer.Argument(help="Where the demo lives; made if absent, continued if there.")] = Path(
        "demo"
    ),
    framework: Annotated[
        FrameworkName | None, typer.Option("--framework", help="Default: that of FOLDER; in a new one torch.")
    ] = None,
) -> None:
    """Read nothing; generate a dataset, train, evaluate and render, and write every file of the pipeline to FOLDER."""
    from frcnn.files import locked

    prepare_folder(folder, framework.value if framework else None)
    with locked(folder / ".dvc" / "frcnn-demo.lock", wait=False) as alone:
        if not alone:
            raise UserError(f"{folder}: another demo is running here; wait for it or stop it")
        remove_broken(folder)
        seconds = {stage: _reproduce(folder, stage) for stage in STAGES}
    _summarize(folder, seconds)


def prepare_folder(folder: Path, framework: str | None = None) -> None:
    """Make FOLDER a DVC project of its own: the pipeline and the demo's parameters.

    An edited params.yaml is the user's and stays.

    Raises:
        UserError: the folder holds something else, or was made with another framework.
    """
    from frcnn.files import write_text
    from frcnn.params import load_params
    from frcnn.presets import commented_params, project_file

    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / MARKER).exists())):
        raise UserError(f"{folder}: exists and is no demo; name another folder")
    parameters = folder / "params.yaml"
    if framework and parameters.exists() and load_params(parameters).train.framework != framework:
        raise UserError(f"{parameters}: has another train.framework than {framework}; edit it, or name another folder")
    write_text(folder / MARKER, "Made by `frcnn demo`, which replaces dvc.yaml in here.\n")
    write_text(folder / ".dvc" / "config", DVC_CONFIG)
    write_text(folder / ".dvcignore", DVCIGNORE)
    write_text(folder / "dvc.yaml", pipeline_without_code(project_file("dvc.yaml").read_text(encoding="utf-8")))
    write_text(folder / VERSION, _version())
    schema = "params.schema.json"
    write_text(folder / schema, project_file(schema).read_text(encoding="utf-8"))
    if not parameters.exists():
        changes = {section: {"framework": framework} for section in ("train", "detect")} if framework else {}
        write_text(parameters, commented_params("demo", changes))


def pipeline_without_code(text: str) -> str:
    """Return dvc.yaml with one dependency on the version in place of those on the code."""
    lines = ["# The pipeline of frcnn, which `frcnn demo` writes. Every stage depends on the version of the code.\n"]
    for line in text.splitlines(keepends=True):
        if not line.startswith("#") and not line.strip().startswith(("- frcnn/", "- stages/")):
            lines.append(line)
        if line.strip() == "deps:":
            lines.append(f"      - {VERSION}\n")
    return "".join(lines)


def _version() -> str:
    """Return the version, and a digest of the code, so that an edit in a checkout reruns the stages."""
    digest = hashlib.sha256()
    for root in (Path(frcnn.__file__).parent, Path(__file__).parent):  # one in the other where installed
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return f"frcnn {frcnn.__version__}, SHA-256 of its code {digest.hexdigest()}\n"


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


def _reproduce(folder: Path, stage: str) -> float:
    """Have DVC bring a stage up to date; return the seconds it took."""
    binaries = Path(sys.executable).parent  # of this environment, which need not be activated
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    begin = time.monotonic()
    command = [sys.executable, "-c", DVC, "repro", "--single-item", stage]
    with stop_on_signal():
        # A process group of its own: each signal reaches DVC and the stage once, whoever sent it.
        process = start(command, environment, cwd=folder, process_group=0, stdin=subprocess.DEVNULL)
        [status] = wait_for_all([process], _signal_group).values()
    if stop.received is not None:
        raise SystemExit(128 + stop.received)
    if status:
        raise UserError(f"stage {stage} failed, see above; `frcnn demo {folder}` goes on from there")
    return time.monotonic() - begin


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Have DVC and the stage stop: DVC waits for the stage after SIGINT, by SIGTERM it would die first."""
    os.killpg(process.pid, signal.SIGKILL if number == signal.SIGKILL else signal.SIGINT)


def _summarize(folder: Path, seconds: dict[str, float]) -> None:
    from .evaluate import print_table

    print_table(folder / "metrics")
    for stage, spent in (*seconds.items(), ("all", sum(seconds.values()))):
        say(f"{stage:<14}{spent:6.1f} s")
    say("")
    say(f"curves    {folder / 'data' / 'pr_curves.png'}")
    for path in sorted((folder / "data" / "renders").glob("*.png")):
        say(f"picture   {path}")
