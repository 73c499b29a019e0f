"""Training that starts from a detector of this project, through both phases."""

from pathlib import Path

import pytest

from frcnn.detector.config import PREPROCESSING
from frcnn.detector.weights_file import read_weights, write_weights
from frcnn.params import Params
from tests.factories import Command, options, training_folder, write_random_weights

SMALL = options(
    [
        "model.width=16",
        "train.batch_size=4",
        "train.precision=float32",
        "train_phase1.epochs=1",
        "train_phase2.epochs=1",
    ]
)
FROM_START = ["train", "--phase", "1", *SMALL, "-S", "model.weights=start.safetensors"]


@pytest.fixture
def work(dataset: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project, as the current folder, with a detector of its classes that expects Caffe's pictures."""
    folder = training_folder(tmp_path / "work", dataset)
    monkeypatch.chdir(folder)
    start = write_random_weights(folder / "start.safetensors", dataset, params)
    config, weights = read_weights(start)
    write_weights(start, config.model_copy(update={"preprocessing": PREPROCESSING["caffe"]}), weights, {})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["torch", pytest.param("tensorflow", marks=pytest.mark.tensorflow)])
def test_both_phases_go_on_from_a_detector(work: Path, frcnn: Command, framework: str) -> None:
    chosen = ["-S", f"train.framework={framework}"]
    code, out, err = frcnn(*FROM_START, *chosen)
    assert code == 0, err
    says = "starts from start.safetensors: backbone, RPN and head, 6 of 6 classes (circle, "
    assert any(line.startswith(says) and line.endswith("; random: nothing") for line in out.splitlines()), out
    code, out, err = frcnn("train", "--phase", "2", *SMALL, *chosen, "-S", "model.weights=start.safetensors")
    assert code == 0, err
    assert "starts from" not in out
    assert read_weights(Path("data/models/phase2.safetensors"))[0].preprocessing == PREPROCESSING["caffe"]
    assert frcnn("detect", *SMALL)[0] == 0


def test_another_network_is_refused(work: Path, frcnn: Command) -> None:
    code, _, err = frcnn(*FROM_START, "-S", "model.width=32")
    assert (code, err) == (
        2, "error: start.safetensors: is of another network; to start from it, set model.width: 16",
    )  # fmt: skip
    assert not Path("data/models").exists()
