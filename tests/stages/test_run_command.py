"""`frcnn run` in a project of its own: runs what is out of date, goes on after a failure, needs neither DVC nor Git."""

import shutil
import subprocess
from pathlib import Path

import pytest

from frcnn.presets import commented_params
from frcnn.template import write_project
from stages.terminal.stage_process import run_stage
from tests.factories import ROOT
from tests.stages.test_demo import environment, reduce

STAGES = ["download", "anchors", "train_phase1", "train_phase2", "detect", "evaluate", "render", "report"]


def frcnn_run(folder: Path, *arguments: str, code: int = 0) -> str:
    command = ["frcnn", "run", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment())
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def ran(output: str) -> list[str]:
    return [stage for stage in STAGES if f"{stage}: frcnn " in output]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("run") / "mein Projekt ü"
    write_project(folder, commented_params("demo"), ROOT / "stages")
    reduce(folder / "params.yaml")
    return folder, frcnn_run(folder)


@pytest.mark.slow
def test_everything_runs_once(finished: tuple[Path, str]) -> None:
    folder, output = finished
    assert ran(output) == STAGES
    assert (folder / "metrics" / "summary.json").stat().st_size
    assert "pictures  data/renders" in output
    assert "report    data/report/index.html" in output
    assert output.count("11-point ") == 1  # evaluate's own table
    assert not (folder / "dvc.lock").exists()
    again = frcnn_run(folder)
    assert ran(again) == []
    assert again.count("up to date") == 8


@pytest.mark.slow
def test_what_changed_runs_again_and_what_needs_it(finished: tuple[Path, str]) -> None:
    folder, parameters = finished[0], (finished[0] / "params.yaml").read_text()
    (folder / "params.yaml").write_text(parameters.replace("iou_threshold: 0.5", "iou_threshold: 0.4"))
    assert "iou_threshold: 0.4" in (folder / "params.yaml").read_text()
    assert ran(frcnn_run(folder)) == ["evaluate", "render", "report"]
    shutil.rmtree(folder / "data" / "renders")
    assert ran(frcnn_run(folder, "detect")) == []
    assert ran(frcnn_run(folder)) == ["render"]


@pytest.mark.slow
def test_a_failed_stage_runs_again(finished: tuple[Path, str]) -> None:
    folder, anchors = finished[0], finished[0] / "data" / "anchors.h5"
    parameters = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(parameters.replace("strides: fixed", "strides: from_map"))
    assert "stage anchors failed, see above; `frcnn run` goes on from there" in frcnn_run(folder, code=2)
    (folder / "params.yaml").write_text(parameters)
    assert anchors.exists()
    assert ran(frcnn_run(folder)) == ["anchors"]


def test_elsewhere_it_says_what_is_missing(tmp_path: Path) -> None:
    assert "dvc.yaml: no such file here; go to a project" in frcnn_run(tmp_path, code=2)


def test_programs_of_this_environment_are_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment is not activated and the system looks in its own PATH alone, as Windows does."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\ntouch done\n")
    program.chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    run_stage("x", ["program"], "again", tmp_path)
    assert (tmp_path / "done").exists()
