"""The stages with TensorFlow: trained, detected with, judged and drawn; one weights file serves both frameworks."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from frcnn.detections.hdf5 import read_detections
from tests.factories import FRCNN, RESULTS, ROOT, options, start, training_folder, wait_for

SMALL = ["model.width=16", "train.batch_size=4", "train_phase1.epochs=2", "train_phase2.epochs=1"]
TENSORFLOW = ["train.framework=tensorflow", "detect.framework=tensorflow"]
CPU = {"FRCNN_DEVICE": "cpu"}


def frcnn(folder: Path, *command: str, code: int = 0, **environment: str) -> str:
    """Run a command to its end and return what it said."""
    process = start(folder, *FRCNN, *command, **CPU, **environment)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stderr
    return stdout + stderr


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which both phases were trained with TensorFlow."""
    folder = training_folder(tmp_path_factory.mktemp("tensorflow") / "work", dataset)
    said = [frcnn(folder, "train", "--phase", phase, *options(SMALL + TENSORFLOW)) for phase in "12"]
    assert "tensorflow on cpu, float32" in said[0]
    assert (folder / "metrics" / "train_phase2.csv").read_text().startswith("epoch,step,images,learning_rate,loss_rpn")
    return folder


@pytest.mark.tensorflow
@pytest.mark.slow
def test_both_frameworks_find_the_same_with_the_same_file(trained: Path) -> None:
    detect = ["detect.precision=float32", "detect.score_threshold=0.01", *SMALL]
    summaries, found = [], []
    for framework in ("torch", "tensorflow"):
        frcnn(trained, "detect", *options([*detect, f"detect.framework={framework}"]))
        frcnn(trained, "evaluate", *options(SMALL))
        frcnn(trained, "render", *options(SMALL))
        summaries.append(json.loads((trained / "metrics" / "summary.json").read_text()))
        found.append(read_detections(trained / "data" / "detections.h5"))
    assert summaries[0]["mAP_voc07"] == pytest.approx(summaries[1]["mAP_voc07"], abs=2e-3)
    assert len(found[0].scores) == len(found[1].scores) > 50
    np.testing.assert_allclose(found[0].boxes, found[1].boxes, atol=1e-2)
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-4)
    pictures = sorted(map(str, (trained / "data" / "dataset" / "JPEGImages").glob("test_*.jpg")))[:2]
    weights = ["--weights", "data/models/phase2.safetensors", "--score-threshold", "0"]
    assert "2 pictures" in frcnn(trained, "predict", *pictures, *weights, "--framework", "tensorflow")


@pytest.mark.tensorflow
@pytest.mark.slow
def test_stopped_and_resumed(trained: Path, tmp_path: Path, dataset: Path) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    command = ("train", "--phase", "1", "--checkpoint-seconds", "0", *options(SMALL + TENSORFLOW))
    process = start(folder, *FRCNN, *command, **CPU)
    wait_for(folder / "checkpoints" / "phase1" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, stderr
    assert "stopped; the same command goes on from" in stdout
    assert "going on after step" in frcnn(folder, *command)
    assert all((folder / name).exists() for name in RESULTS)


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("train", "--phase", "1", "-S", "train.precision=bf16"), "train.precision: tensorflow has no bf16 here"),
        (("train", "--phase", "1", "-S", "train.precision=fp16"), "train.precision: tensorflow has no fp16 here"),
        (("train", "--phase", "1", "-S", "train.deterministic=true"), "train.deterministic: only torch can"),
        (("train", "--phase", "1", "--nproc", "2"), "trains in one process"),
        (
            ("train", "--phase", "1", "-S", "model.proposals.mask_padding=false"),
            "framework: tensorflow has no model.proposals.mask_padding: false; use torch",
        ),
        (("train", "--phase", "1", "--device", "cuda:x"), "--device cuda:x: not a device"),
        (("train", "--phase", "1", "--device", "cuda:7"), "TensorFlow sees"),
    ],
    ids=["bf16", "fp16", "deterministic", "several processes", "padding", "no device", "no such device"],
)
def test_what_it_cannot_do_is_said(tmp_path: Path, dataset: Path, command: tuple[str, ...], said: str) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    text = frcnn(folder, *command, *options(SMALL + TENSORFLOW), code=2)
    assert said in text
    assert "Traceback" not in text


@pytest.mark.slow
@pytest.mark.parametrize("command", [("train", "--phase", "1"), ("predict", "x.png", "--framework", "tensorflow")])
def test_without_tensorflow_the_extra_is_named(tmp_path: Path, dataset: Path, command: tuple[str, ...]) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    (folder / "none").mkdir()
    (folder / "none" / "tensorflow.py").write_text("raise ImportError('none here')\n")
    (folder / "x.png").write_bytes(next((dataset / "JPEGImages").glob("*.jpg")).read_bytes())
    changes = options(SMALL + TENSORFLOW) if command[0] == "train" else []
    path = os.pathsep.join([str(folder / "none"), str(ROOT)])
    text = frcnn(folder, *command, *changes, code=2, PYTHONPATH=path)
    assert "pip install 'frcnn[tensorflow]'" in text
    assert "Traceback" not in text


def test_an_unknown_framework_is_refused(tmp_path: Path) -> None:
    for command in ("predict x.png", "demo demo"):
        text = frcnn(tmp_path, *command.split(), "--framework", "jax", code=2)
        assert "is not one of 'torch'" in text
    assert not (tmp_path / "demo").exists()
