"""A stage whose parameters or inputs are edited while it runs writes nothing but, in training, the log as it grows."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import frcnn.unchanged
from frcnn.params import Params
from tests.factories import Command, options, training_folder, write_random_weights
from tests.frcnn.test_unchanged import PIPELINE

SMALL = options(["model.width=16", "train.batch_size=4", "train.precision=float32", "detect.precision=float32"])
COMMANDS = {
    "download": ["download", "--workers", "0", "-S", "download.synthetic.train_images=2"],
    "anchors": ["anchors", "--workers", "0", *SMALL],
    "train_phase1": ["train", "--phase", "1", *SMALL, "-S", "train_phase1.epochs=1"],
    "train_phase2": ["train", "--phase", "2", *SMALL, "-S", "train_phase2.epochs=1"],
    "detect": ["detect", *SMALL],
    "evaluate": ["evaluate"],
    "render": ["render"],
    "report": ["report"],
}
# Keys that the commands above leave to params.yaml.
EDITS = {
    "download": "download.synthetic.val_images", "anchors": "anchors.rpn_positive_iou",
    "train_phase1": "train_phase1.learning_rate", "train_phase2": "train_phase2.learning_rate",
    "detect": "detect.nms_threshold", "evaluate": "evaluate.iou_threshold", "render": "render.images",
    "report": "evaluate.iou_threshold",
}  # fmt: skip


@pytest.fixture
def work(dataset: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frcnn: Command) -> Path:
    """Return a project, as the current folder, in which every stage can run and none has."""
    folder = training_folder(tmp_path / "work", dataset)
    monkeypatch.chdir(folder)
    (folder / "data" / "dataset").unlink()
    shutil.copytree(dataset, folder / "data" / "dataset")
    for phase in (1, 2):
        write_random_weights(folder / "data" / "models" / f"phase{phase}.safetensors", dataset, params)
    assert frcnn(*COMMANDS["detect"])[0] == 0
    return folder


def edit_after_start(monkeypatch: pytest.MonkeyPatch, edit: Callable[[], object]) -> None:
    """Have an edit made as soon as a stage has noted what it reads."""
    watch = frcnn.unchanged.watch

    def watch_and_edit(*arguments: Any) -> Callable[[], None]:
        require_unchanged = watch(*arguments)
        edit()
        return require_unchanged

    monkeypatch.setattr(frcnn.unchanged, "watch", watch_and_edit)


def state(folder: Path) -> dict[str, bytes]:
    """Return the files that are neither a lock nor of a checkpoint nor the log of training."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    files = [path for path in files if "checkpoints" not in path.parts and "train_phase" not in path.name]
    return {str(path): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("stage", PIPELINE)
def test_an_edited_parameter(work: Path, monkeypatch: pytest.MonkeyPatch, frcnn: Command, stage: str) -> None:
    section, *names = EDITS[stage].split(".")

    def edit() -> None:
        values = yaml.safe_load((work / "params.yaml").read_text())
        tree = values.setdefault(section, {})
        for name in names[:-1]:
            tree = tree.setdefault(name, {})
        tree[names[-1]] = 1
        (work / "params.yaml").write_text(yaml.safe_dump(values))

    if stage == "download":
        shutil.rmtree(work / "data" / "dataset")
    before = state(work)
    edit_after_start(monkeypatch, edit)
    code, _, stderr = frcnn(*COMMANDS[stage])
    assert (code, stderr.count("error:")) == (2, 1), stderr
    assert "was changed while this ran; nothing is written" in stderr
    before[str(work / "params.yaml")] = (work / "params.yaml").read_bytes()
    assert state(work) == before


INPUTS = {
    "anchors": ["dataset/classes.txt"],
    "train_phase1": ["dataset/classes.txt", "anchors.h5"],
    "train_phase2": ["dataset/classes.txt", "anchors.h5", "models/phase1.safetensors"],
    "detect": ["dataset/classes.txt", "models/phase2.safetensors"],
    "evaluate": ["dataset/classes.txt", "detections.h5"],
    "render": ["dataset/classes.txt", "detections.h5"],
    "report": ["dataset/classes.txt", "detections.h5", "models/phase2.safetensors"],
}


def test_all_inputs_are_tried() -> None:
    declared = {
        stage: {dep.removeprefix("data/") for dep in PIPELINE[stage]["deps"] if dep.startswith("data/")}
        for stage in INPUTS
    }
    assert declared == {stage: {path.replace("/classes.txt", "") for path in INPUTS[stage]} for stage in INPUTS}


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "name"), [(stage, name) for stage, names in INPUTS.items() for name in names])
def test_a_replaced_input(work: Path, monkeypatch: pytest.MonkeyPatch, frcnn: Command, stage: str, name: str) -> None:
    path = work / "data" / name

    def replace() -> None:
        shutil.copy(path, copy := path.with_name("copy"))
        copy.replace(path)

    before = state(work)
    edit_after_start(monkeypatch, replace)
    code, _, stderr = frcnn(*COMMANDS[stage])
    assert (code, stderr.count("error:")) == (2, 1), stderr
    assert f"{name}: it was changed while this ran; nothing is written" in stderr
    assert state(work) == before
