"""`frcnn train` killed at any moment: the same command, given again, ends with the bytes of an undisturbed run.

And `--profile`, which traces a few steps and leaves everything else alone.
"""

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from frcnn.profiling import STEPS
from tests.factories import RESULTS, options, results, start, training_folder, wait_for

CHANGES = ("model.width=16", "train.batch_size=4", "train.precision=float32", "train_phase1.epochs=12")
COMMAND = [sys.executable, "-c", "from stages.cli import main; main()", "train", "--phase", "1", "--device", "cpu"]
COMMAND += ["--checkpoint-seconds", "0", "--log-steps", "7", *options(CHANGES)]


def train(folder: Path, *more: str) -> subprocess.Popen[str]:
    return start(folder, *COMMAND, *more, OMP_NUM_THREADS="1")


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Weights and log of a run that nobody disturbed."""
    folder = training_folder(tmp_path_factory.mktemp("undisturbed") / "work", dataset)
    process = train(folder)
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
    folder = training_folder(tmp_path / "work", dataset)
    checkpoint = folder / "checkpoints" / "phase1" / "last.pt"
    process = train(folder)
    wait_for(checkpoint, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    weights, log, picture = (folder / name for name in RESULTS)
    assert not weights.exists()
    if log.exists():  # a kill may come before the first row
        assert undisturbed[1].startswith(log.read_bytes())
        assert log.read_bytes().endswith(b"\n")
    for path in (log, picture):
        path.unlink(missing_ok=True)  # as DVC does before it runs a stage
    if number != signal.SIGKILL:
        assert "stopped; the same command goes on from" in stdout

    process = train(folder, "--workers", "2")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert "going on after step" in stdout
    assert results(folder) == undisturbed


KILL_IN_THE_SECOND_VALIDATION = """
import os, signal
from frcnn.training import loop
whole, calls = loop.validate, []
def validate(*arguments):
    calls.append(0)
    return whole(*arguments[:-1], lambda: len(calls) == 2 and os.kill(os.getpid(), signal.SIGKILL))
loop.validate = validate
from stages.cli import main
main()
"""


@pytest.mark.slow
def test_killed_in_validation_with_the_average_and_an_early_stop(tmp_path: Path, dataset: Path) -> None:
    changes = options(
        ("train.validation.fraction=0.25", "train.validation.keep=best", "train.validation.patience=2",
         "train.ema_decay=0.9", "train_phase1.epochs=30", "train_phase1.learning_rate=1e-12")
    )  # fmt: skip
    folders = [training_folder(tmp_path / name / "work", dataset) for name in ("undisturbed", "killed")]
    killer = [*COMMAND[:2], KILL_IN_THE_SECOND_VALIDATION, *COMMAND[3:], *changes]
    killed = start(folders[1], *killer, OMP_NUM_THREADS="1")
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert (folders[1] / RESULTS[1]).read_text().count("\n") > 1  # what validation found of the first epoch
    said = []
    for folder in folders:
        process = train(folder, *changes)
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert "as the mAP in validation rises no more" in stdout
        said.append(stdout)
    assert "going on after step" in said[1]
    assert results(folders[1]) == results(folders[0])


@pytest.mark.slow
def test_a_second_trainer_is_refused_and_fresh_starts_over(
    tmp_path: Path, dataset: Path, undisturbed: list[bytes]
) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    first = train(folder)
    wait_for(folder / "checkpoints" / "phase1" / "last.pt", first)
    first.send_signal(signal.SIGSTOP)
    second = train(folder)
    stderr = second.communicate(timeout=120)[1]
    assert second.returncode == 2
    assert "another training is running here" in stderr
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)

    fresh = train(folder, "--fresh")
    stdout, stderr = fresh.communicate(timeout=300)
    assert fresh.returncode == 0, stderr
    assert "going on" not in stdout
    assert results(folder) == undisturbed


@pytest.mark.slow
def test_profile_traces_a_few_steps_and_writes_nothing_else(tmp_path: Path, dataset: Path) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    before = {path for path in folder.rglob("*") if path.is_file()}
    process = train(folder, "--profile", "profile")
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
