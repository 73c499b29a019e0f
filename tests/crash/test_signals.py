"""SIGINT and SIGTERM at any moment from the start of a command to its end: a clean exit, and nothing left behind.

FRCNN_SIGNALS: how many signals, 20 by default; `FRCNN_SIGNALS=200 pytest tests/crash/test_signals.py`.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from frcnn.params import Params
from tests.factories import FRCNN, options, training_folder, write_random_weights

COUNT, SEED = int(os.environ.get("FRCNN_SIGNALS", "20")), 9
SETTINGS = options(["model.width=16", "train.batch_size=4", "train.precision=float32", "detect.precision=float32"])
TRAIN = ["train", "--phase", "1", "--checkpoint-seconds", "0", *SETTINGS, "-S", "train_phase1.epochs=3"]
DETECT = ["detect", *SETTINGS, "-S", "detect.batch_size=2"]
COMMANDS = {
    "help": ["--help"],
    "check": ["check"],
    "download": ["download", "--dataset", "drawn", "--workers", "2", "-S", "download.synthetic.train_images=40"],
    "anchors": ["anchors", "--workers", "2", *SETTINGS],
    "train": TRAIN,
    "train, loaders": [*TRAIN, "--workers", "2"],
    "train, 2 ranks": [*TRAIN, "--nproc", "2"],
    "detect": DETECT,
    "detect, 2 ranks": [*DETECT, "--nproc", "2"],
    "evaluate": ["evaluate"],
    "render": ["render"],
    "report": ["report"],
    "predict": ["predict", "data/dataset/JPEGImages"],
}


@pytest.fixture(scope="module")
def project(dataset: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which every command can run."""
    folder = training_folder(tmp_path_factory.mktemp("signals") / "project", dataset)
    write_random_weights(folder / "data" / "models" / "phase2.safetensors", dataset, params)
    process, _ = start(folder, DETECT)
    assert process.wait(300) == 0
    return folder


def start(folder: Path, arguments: list[str]) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a command in a session of its own; return it and the file with what it says on stderr."""
    scratch, said = folder.parent / "t", folder / "stderr"
    scratch.mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    with said.open("wb") as file:
        command = [*FRCNN, *arguments]
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=file, start_new_session=True
        )
    return process, said


def handles(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal: its entry point was reached, and its end was not."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def session(leader: int) -> list[str]:
    """Return the processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, _, _, sid = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(sid) == leader and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
    return found


def interrupt(folder: Path, arguments: list[str], moment: float, number: signal.Signals, group: bool) -> list[str]:
    """Run a command that gets a signal after `moment` seconds; return what is wrong then."""
    process, said = start(folder, arguments)
    time.sleep(moment)
    entered = handles(process.pid, signal.SIGTERM)
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, number)
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return ["did not end"]
    deadline = time.monotonic() + 3  # what gets its end from the kernel may take a moment
    while (running := session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    text = said.read_text()
    wrong = [f"still runs: {command}" for command in running]
    wrong += [f"left {path}" for path in [*folder.rglob("*.tmp"), *(folder.parent / "t").iterdir()]]
    # Before the entry point it is Python that answers, with 1 where Ctrl-C meets its own first imports.
    allowed = (128 + number,) if entered else (0, 128 + number, -number, 1)
    if code not in allowed:
        wrong.append(f"exit code {code}")
    if any(bad in text for bad in ("Traceback", "internal error", "Aborted", "Error", "xception")) and entered:
        wrong.append(text)
    if text.count("\n") > 1 and entered:
        wrong.append(f"says more than a line: {text}")
    return wrong


@pytest.mark.slow
def test_at_any_moment(project: Path, tmp_path: Path) -> None:
    draw, seconds, counts = random.Random(SEED), dict[str, float](), dict[str, int]()
    failures = []
    for each in range(COUNT):
        name = list(COMMANDS)[each % len(COMMANDS)]
        if name not in seconds:
            folder = shutil.copytree(project, tmp_path / name, symlinks=True)
            begin = time.monotonic()
            assert start(folder, COMMANDS[name])[0].wait(300) == 0, (folder / "stderr").read_text()
            seconds[name] = time.monotonic() - begin
        number, group = draw.choice([signal.SIGINT, signal.SIGTERM]), draw.random() < 0.5
        moment = draw.uniform(0, 1.02 * seconds[name])
        folder = shutil.copytree(project, tmp_path / "run", symlinks=True)
        wrong = interrupt(folder, COMMANDS[name], moment, number, group)
        shutil.rmtree(folder)
        if wrong:
            whom = "all" if group else "one"
            failures.append(f"{name}: {number.name} to {whom} at {moment:.3f} of {seconds[name]:.3f} s: {wrong}")
            counts[name] = counts.get(name, 0) + 1
    assert not failures, f"{len(failures)} of {COUNT} {counts}:\n" + "\n".join(failures)
