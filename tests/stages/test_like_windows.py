"""Every stage runs without what Windows lacks, see like_windows/sitecustomize.py, and writes the same bytes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.crash.forked import differences, tree
from tests.factories import FRCNN, ROOT, options, start, wait_for

CHANGES = ["--params", "demo", *options([*SMALL, "detect.score_threshold=0.01"])]
STAGES = (
    ["download", *CHANGES],
    ["anchors", "--workers", "2", *CHANGES],
    *(["train", "--phase", phase, "--device", "cpu", "--workers", "2", *CHANGES] for phase in "12"),
    ["detect", "--device", "cpu", *CHANGES],
    *([stage, *CHANGES] for stage in ("evaluate", "render", "report")),
    ["predict", "data/dataset/JPEGImages", "--device", "cpu", "--json-only"],
    ["export", "--to", "coco", "--out", "coco", "--params", "demo"],
)
MISSING = {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "like_windows"), str(ROOT)]), "OMP_NUM_THREADS": "1"}


def run_all(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    """Run the stages in a new folder; return the digests of all files."""
    folder.mkdir()
    for arguments in STAGES:
        done = subprocess.run(
            [*FRCNN, *arguments], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), arguments
    return {name: digest for name, digest in tree(folder).items() if not name.endswith(".lock")}


@pytest.mark.slow
def test_all_stages_write_the_same_bytes(tmp_path: Path) -> None:
    usual, missing = run_all(tmp_path / "a", {"OMP_NUM_THREADS": "1"}), run_all(tmp_path / "b", MISSING)
    assert differences(missing, usual) == []


@pytest.mark.slow
def test_training_stops_at_ctrl_c_and_goes_on(tmp_path: Path) -> None:
    for arguments in STAGES[:2]:
        subprocess.run([*FRCNN, *arguments], cwd=tmp_path, env=os.environ | MISSING, capture_output=True, check=True)
    train = [*FRCNN, *STAGES[2], "-S", "train_phase1.epochs=30"]
    process = start(tmp_path, *train, **MISSING)
    wait_for(tmp_path / "checkpoints/phase1/last.pt", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "stopped by SIGINT\n")
    assert "the same command goes on from" in out
    done = subprocess.run(train, cwd=tmp_path, env=os.environ | MISSING, capture_output=True, text=True, check=True)
    assert "going on after step" in done.stdout
