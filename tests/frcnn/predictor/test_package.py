"""What `import frcnn` offers, and how a detector is loaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import frcnn
from frcnn.errors import UserError
from frcnn.params import Detect, Params
from frcnn.predictor import Predictor
from frcnn.pytorch.inference import TorchDetector
from tests.factories import ROOT, build
from tests.frcnn.predictor.fake_network import FakeNetwork


def test_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pandas", "PIL", "h5py", "pydantic", "matplotlib", "tensorflow", "typer", "rich"}
    code = f"""
import sys, time
began = time.perf_counter()
import frcnn
print(time.perf_counter() - began, sorted({heavy!r} & set(sys.modules)))
"""
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split(
            " ", 1
        )
        for _ in range(3)
    ]
    assert {names.strip() for _, names in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) < 0.1


def test_what_the_package_offers() -> None:
    assert {name for name in frcnn.__all__ if not name.startswith("__")} == set(frcnn.HOMES)
    assert all(callable(getattr(frcnn, name)) for name in frcnn.HOMES)


def test_what_the_package_offers_is_listed() -> None:
    assert set(dir(frcnn)) == set(frcnn.__all__)
    assert frcnn.load and frcnn.UserError


def test_load(monkeypatch: pytest.MonkeyPatch, array: np.ndarray) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr("frcnn.loading.load_detector", lambda *arguments: asked.append(arguments) or FakeNetwork())
    detector = frcnn.load("model.onnx", "cpu", score_threshold=0.5, batch_size=3)
    assert asked == [(Path("model.onnx"), "cpu", "torch")]
    assert detector.settings == Detect(nms_threshold=0.6, score_threshold=0.5, batch_size=3)
    for wrong, words in (
        ({"framework": "jax"}, "frcnn.load: framework is 'jax'; choose from torch, tensorflow"),
        ({"score_threshold": 1.5}, "frcnn.load: score_threshold is 1.5; it must be at most 1"),
        ({"precision": "fp8"}, "frcnn.load: precision is 'fp8'; choose from float32, bf16, fp16, auto"),
        ({"batch_size": 0}, "frcnn.load: batch_size is 0; it must be at least 1"),
    ):
        with pytest.raises(UserError, match=words):
            frcnn.load("model.onnx", **wrong)
    assert len(asked) == 1


def test_a_folder_of_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; name a weights file in it"):
        frcnn.load(tmp_path)


def test_it_describes_itself_in_a_line(params: Params) -> None:
    network = TorchDetector(build(params).eval(), torch.device("cpu"))
    assert repr(Predictor(network, params.detect)) == "<detector resnet18, 3 classes: a, b, c; score_threshold 0.05>"
