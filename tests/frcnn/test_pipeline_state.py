"""What is out of date without DVC: parameters, inputs, outputs and commands each count, nothing else does."""

import shutil
from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.params import load_params
from frcnn.pipeline import STATE, before, keep_state, read_stages, read_state, state_of

PIPELINE = """
stages:
  make:
    cmd: frcnn download
    deps: ["${download.source}"]
    params: [download.source, data]
    outs: [out/made: {cache: false}]
  use:
    cmd: frcnn anchors
    deps: [out/made]
    params: [anchors]
    metrics: [used.json]
  other:
    cmd: frcnn check
    plots: [plot.csv]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    for name in ("source ü 1/a.txt", "source ü 1/deep/b.txt", "out/made/c.txt", "used.json", "plot.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    (tmp_path / "params.yaml").write_text("download: {source: source ü 1}\n")
    return tmp_path


def states() -> dict[str, object]:
    return {stage.name: state_of(stage) for stage in read_stages(load_params(Path("params.yaml")))}


@pytest.mark.parametrize(
    ("path", "text", "changed"),
    [
        ("params.yaml", "download: {source: source ü 1}\ndata: {min_size: 600}\n", set()),  # the default, written out
        ("params.yaml", "download: {source: source ü 1}\ndata: {min_size: 500}\n", {"make"}),
        ("params.yaml", "download: {source: source ü 1}\nanchors: {anchor_offset: 0}\n", {"use"}),
        ("params.yaml", "download: {source: source ü 1}\nrender: {images: 3}\n", set()),
        ("source ü 1/deep/b.txt", "other", {"make"}),
        ("source ü 1/new.txt", "content", {"make"}),
        ("source ü 1/.hidden", "content", set()),
        ("out/made/c.txt", "other", {"make", "use"}),
        ("used.json", "other", {"use"}),
        ("dvc.yaml", PIPELINE.replace("frcnn anchors", "frcnn anchors --workers 2"), {"use"}),
    ],
)
def test_what_a_change_puts_out_of_date(project: Path, path: str, text: str, changed: set[str]) -> None:
    first = states()
    (project / path).write_text(text)
    second = states()
    assert {name for name in first if first[name] != second[name]} == changed


def test_a_removed_output_counts_and_a_removed_input_is_named(project: Path) -> None:
    first = states()
    (project / "plot.csv").unlink()
    assert states()["other"] != first["other"]
    shutil.rmtree(project / "source ü 1")
    with pytest.raises(UserError, match="source ü 1: no such file or folder, which the stage make reads"):
        states()


def test_the_state_survives_and_a_damaged_one_runs_everything(project: Path) -> None:
    keep_state(states())
    assert read_state() == states()
    for damaged in ("", "{", "[]"):
        STATE.write_text(damaged)
        assert read_state() == {}


def test_a_stage_comes_with_what_it_needs(project: Path) -> None:
    stages = read_stages(load_params(Path("params.yaml")))
    assert [stage.name for stage in before(stages, "use")] == ["make", "use"]
    assert [stage.name for stage in before(stages, None)] == ["make", "use", "other"]
    with pytest.raises(UserError, match="no such stage; choose from make, use, other"):
        before(stages, "train")


@pytest.mark.parametrize("text", ["", "[]", "stages: {make: {}}", "stages: {make: {cmd: x, params: [nothing]}}"])
def test_another_pipeline_is_refused(project: Path, text: str) -> None:
    (project / "dvc.yaml").write_text(text)
    with pytest.raises(UserError, match="dvc.yaml: "):
        read_stages(load_params(Path("params.yaml")))
