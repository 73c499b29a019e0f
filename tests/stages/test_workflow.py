"""`frcnn.train` and `frcnn.evaluate` do what the commands do, to the byte, whether cut off or not."""

import json
from pathlib import Path

import pytest

import frcnn as package
from frcnn.errors import UserError
from tests.conftest import SMALL
from tests.factories import Command, options

FEW = [*SMALL, "train_phase1.epochs=2", "train_phase2.epochs=1", "detect.score_threshold=0.01"]
OVERRIDES = {
    key: json.loads(value) if value[0].isdigit() else value for key, value in (text.split("=") for text in FEW)
}
PLACES = {"--dataset": "dataset", "--anchors": "anchors.h5", "--models": "models", "--metrics": "metrics"}


@pytest.mark.slow
def test_the_same_bytes_as_the_commands(
    dataset: Path, tmp_path: Path, frcnn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dataset").symlink_to(dataset)
    monkeypatch.chdir(tmp_path)
    changes = ["--params", "demo", *options(FEW)]
    assert frcnn("anchors", "--dataset", "dataset", "--out", "anchors.h5", "--workers", "0", *changes)[0] == 0
    places = [word for place in PLACES.items() for word in place]
    for phase in "12":
        code, _, err = frcnn("train", "--phase", phase, "--device", "cpu", *places, *changes)
        assert (code, err) == (0, "")
    weights = ["--weights", "models/phase2.safetensors"]
    detect = ["detect", "--dataset", "dataset", "--out", "d.h5", "--device", "cpu", *weights, *changes]
    assert frcnn(*detect)[0] == 0
    judged = ["--detections", "d.h5", "--metrics", "metrics", "--curves", "curves.png"]
    assert frcnn("evaluate", "--dataset", "dataset", *judged, *changes)[0] == 0

    said: list[str] = []

    def interrupt(line: str) -> None:
        said.append(line)
        if line.startswith("phase 1, epoch 2/2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        package.train("dataset", "out", "demo", OVERRIDES, device="cpu", tell=interrupt)
    detector = package.train("dataset", "out", "demo", OVERRIDES, device="cpu", tell=said.append)
    assert any("going on after step" in line for line in said)
    for name in ("anchors.h5", "models/phase1.safetensors", "models/phase2.safetensors", "metrics/train_phase2.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / name).read_bytes(), name
    summary = json.loads((tmp_path / "metrics/summary.json").read_text())
    assert package.evaluate(detector, "dataset", "demo", OVERRIDES) == summary
    assert package.evaluate("models/phase2.safetensors", "dataset", "demo", OVERRIDES, device="cpu") == summary
    (tmp_path / "other").mkdir()
    (tmp_path / "other/classes.txt").write_text("cat\n")
    with pytest.raises(UserError, match="detector: trained on other classes than other/classes.txt lists"):
        package.evaluate(detector, "other", "demo")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none", "out", "demo"), "none"),
        (("none", "out", "no-preset"), "no-preset"),
        (("none", "out", "demo", {"train.epochs": 2}), "no parameter train.epochs"),
        (("none", "out", "demo", {"model.width": "wide"}), "model.width is 'wide'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        package.train(*arguments)
    assert list(tmp_path.iterdir()) == []
