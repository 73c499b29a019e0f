import json
from pathlib import Path

import pytest
from PIL import Image

from frcnn.detector.weights_file import write_weights
from frcnn.params import Params
from frcnn.pytorch.weights import arrays_of
from tests.factories import Command
from tests.frcnn.onnx.slim import picture, slim_detector


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--to", "coco", "--out", "x", "--resize", "inside"), "--resize and --picture are for --to onnx and pt2"),
        (("--to", "pt2", "--out", "x.pt2", "--resize", "inside"), "--to pt2: cannot resize inside"),
        (("--to", "onnx", "--out", "x.pt"), "--out x.pt: name a file that ends in .onnx"),
        (("--to", "pt2", "--out", "."), "--out .: is a folder"),
        (("--to", "onnx", "--out", "x.onnx", "--weights", "none"), "none: no such weights file"),
    ],
)
def test_options_that_do_not_fit(
    arguments: tuple[str, ...], text: str, frcnn: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = frcnn("export", *arguments)
    assert code == 2
    assert text in error
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_export_and_predict(frcnn: Command, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The score that validation found and the settings at export are taken over."""
    monkeypatch.chdir(tmp_path)
    model = slim_detector(params, "resnet18", monkeypatch)
    write_weights(Path("w.safetensors"), model.config, arrays_of(model), {"seed": 1}, {"score": 0.11, "loss": 1.0})
    Image.fromarray(picture(100, 160, 1)).save("picture.png")
    code, said, error = frcnn(
        "export", "--to", "onnx", "--weights", "w.safetensors", "--out", "m.onnx", "--picture", "picture.png",
        "--set", "detect.post_nms_topk=20",
    )  # fmt: skip
    assert code == 0, error
    assert "px and" in said
    code, _, error = frcnn("predict", "picture.png", "--weights", "m.onnx", "--score-threshold", "auto")
    assert code == 0, error
    exported = json.loads(Path("predictions/detections.json").read_text())
    more = ("--score-threshold", "0.11", "--set", "detect.post_nms_topk=20", "--out", "own")
    assert frcnn("predict", "picture.png", "--weights", "w.safetensors", *more)[0] == 0
    own = json.loads(Path("own/detections.json").read_text())
    assert exported[0]["score_threshold"] == own[0]["score_threshold"] == 0.11
    assert [each["label"] for each in exported[0]["detections"]] == [each["label"] for each in own[0]["detections"]]
    assert exported[0]["detections"]
