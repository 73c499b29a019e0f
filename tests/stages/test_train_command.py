"""`frcnn train` killed at any moment: the same command, given again, ends with the bytes of an undisturbed run.

And `--profile`, which traces a few steps and leaves everything else alone.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from training_folder import RESULTS, prepare, results

from frcnn.profiling import STEPS

ROOT = Path(__file__).resolve().parents[2]
CHANGES = ("model.width=16", "train.batch_size=4", "train.precision=float32", "train_phase1.epochs=12")
OPTIONS = [word for change in CHANGES for word in ("-S", change)]
COMMAND = [sys.executable, "-c", "from stages.cli import main; main()", "train", "--phase", "1", "--device", "cpu"]
COMMAND += ["--checkpoint-seconds", "0", "--log-steps", "7", *OPTIONS]


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, *more], cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Weights and log of a run that nobody disturbed."""
    folder = prepare(tmp_path_factory.mktemp("undisturbed") / "work", dataset)
    process = start(folder)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert "60 steps" in stdout
    return results(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=["SIGKILL", "SIGTERM", "Ctrl-C"],
)
def test_killed_and_resumed(
    tmp_path: Path, dataset: Path, undisturbed: list[bytes], number: signal.Signals, code: int
) -> None:
    folder = prepare(tmp_path / "work", dataset)
    checkpoint = folder / "checkpoints" / "phase1" / "last.pt"
    process = start(folder)
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert not any((folder / name).exists() for name in RESULTS)
    if number != signal.SIGKILL:
        assert "stopped; the same command goes on from" in stdout

    process = start(folder, "--workers", "2")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert "going on after step" in stdout
    assert results(folder) == undisturbed


@pytest.mark.slow
def test_a_second_trainer_is_refused_and_fresh_starts_over(
    tmp_path: Path, dataset: Path, undisturbed: list[bytes]
) -> None:
    folder = prepare(tmp_path / "work", dataset)
    first = start(folder)
    while not (folder / "checkpoints" / "phase1" / "last.pt").exists():
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    second = start(folder)
    stderr = second.communicate(timeout=120)[1]
    assert second.returncode == 2
    assert "another training is running here" in stderr
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)

    fresh = start(folder, "--fresh")
    stdout, stderr = fresh.communicate(timeout=300)
    assert fresh.returncode == 0, stderr
    assert "going on" not in stdout
    assert results(folder) == undisturbed


@pytest.mark.slow
def test_profile_traces_a_few_steps_and_writes_nothing_else(tmp_path: Path, dataset: Path) -> None:
    folder = prepare(tmp_path / "work", dataset)
    before = {path for path in folder.rglob("*") if path.is_file()}
    process = start(folder, "--profile", "profile")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert stdout.splitlines() == ["profile   profile/trace.json"]
    new = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path not in before}
    assert new - {"checkpoints/phase1/lock"} == {"profile/trace.json"}
    events = json.loads((folder / "profile" / "trace.json").read_text())["traceEvents"]
    times = Counter(event["name"] for event in events if event.get("cat") == "user_annotation")
    once = dict.fromkeys(
        ("backbone", "rpn", "proposals", "sampling", "roi_pooling", "head", "backward", "optimizer"), STEPS
    )
    assert {name: times[name] for name in (*once, "losses")} == once | {"losses": 2 * STEPS}  # of RPN and RoIs
