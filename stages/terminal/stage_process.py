"""Run the command of a stage in a process of its own, and print what a whole pipeline made."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from frcnn.errors import UserError

from .console import say
from .interrupt import start, stop, stop_on_signal
from .launch import KILL, wait_for_all


def run_stage(stage: str, command: list[str], again: str, folder: Path = Path()) -> float:
    """Run a command in a folder; return the seconds it took.

    Args:
        stage: its name, for the message.
        command: program and arguments; this environment's programs are found first, activated or not.
        again: the command that goes on from there after a failure.
        folder: working directory.

    Raises:
        UserError: it failed.
        SystemExit: a signal stopped it.
    """
    path = os.pathsep.join(
        [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    )
    command = [shutil.which(command[0], path=path) or command[0], *command[1:]]  # Windows looks in its own PATH alone
    begin = time.monotonic()
    with stop_on_signal():
        # A process group of its own: each signal reaches DVC and the stage once, whoever sent it.
        options = {"cwd": folder, "process_group": 0, "stdin": subprocess.DEVNULL}
        process = start(command, os.environ | {"PATH": path}, **options)
        [status] = wait_for_all([process], _signal_group).values()
    if stop.received is not None:
        raise SystemExit(128 + stop.received)
    if status:
        raise UserError(f"stage {stage} failed, see above; `{again}` goes on from there")
    return time.monotonic() - begin


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Have the process and its own stop: DVC waits for the stage after SIGINT, by SIGTERM it would die first.

    On Windows there is no such group: Ctrl-C reaches all processes of the console by itself.
    """
    if hasattr(os, "killpg"):
        os.killpg(process.pid, KILL if number == KILL else signal.SIGINT)
    elif number == KILL:
        process.kill()


def print_results(seconds: Mapping[str, float], folder: Path = Path()) -> None:
    """Print the seconds of each stage, and where the pictures are."""
    for stage, spent in (*seconds.items(), ("all", sum(seconds.values()))):
        say(f"{stage:<14}{spent:6.1f} s")
    say("")
    say(f"curves    {folder / 'data' / 'pr_curves.png'}")
    say(f"pictures  {folder / 'data' / 'renders'}")
    say(f"report    {folder / 'data' / 'report' / 'index.html'}")
