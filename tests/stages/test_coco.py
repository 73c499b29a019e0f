"""The whole way from a detector trained on COCO: predict at once, fine-tune on a dataset, detect, evaluate."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import detection

from frcnn.detector.weights_file import read_weights
from frcnn.fetching.published import Published
from frcnn.params import PRESETS
from tests.factories import Command, options

SMALL = options(
    [
        "model.backbone=mobilenet-v3-320-fpn",
        "data.min_size=64",
        "data.max_size=128",
        "anchors.anchor_sizes=[8,16,32,64,128]",
        "train.precision=float32",
        "train.rpn.pre_nms_topk=100",
        "train.rpn.post_nms_topk=50",
        "train.roi.batch_size=16",
        "train_phase1.epochs=1",
        "train_phase2.epochs=1",
        "detect.precision=float32",
        "detect.pre_nms_topk=100",
        "detect.post_nms_topk=30",
        "detect.score_threshold=0.01",
    ]
)


@pytest.fixture
def work(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with the preset `finetune`, as the current folder; a random detector lies in the cache."""
    folder, cache = tmp_path / "work", tmp_path / "cache"
    (folder / "data").mkdir(parents=True)
    cache.mkdir()
    (folder / "params.yaml").write_bytes((PRESETS / "finetune.yaml").read_bytes())
    (folder / "data" / "dataset").symlink_to(dataset)
    torch.manual_seed(0)
    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    torch.save(model.state_dict(), cache / "published.pth")
    digest = hashlib.sha256((cache / "published.pth").read_bytes()).hexdigest()
    here = Published("published.pth", ("http://127.0.0.1:9/published.pth",), digest[:8])
    for module in ("importing.published_detectors", "importing.torchvision_detectors", "pretrained"):
        monkeypatch.setattr(f"frcnn.{module}.coco_weights", lambda backbone: here)
    monkeypatch.setenv("FRCNN_CACHE", str(cache))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_fine_tuning(work: Path, frcnn: Command) -> None:
    for command in (["anchors"], ["train", "--phase", "1"], ["train", "--phase", "2"], ["detect"]):
        code, out, err = frcnn(*command, *SMALL)
        assert (code, err) == (0, "")
        if command == ["train", "--phase", "1"]:
            assert (
                "backbone, RPN and head, 0 of 80 classes; random: 6 classes (circle, cross, rectangle, ring, star"
                in out
            )
    config, _ = read_weights(work / "data" / "models" / "phase2.safetensors")
    assert config.model.backbone == "mobilenet-v3-320-fpn"
    assert config.postprocessing is None
    code, out, _ = frcnn("evaluate", *SMALL)
    assert code == 0
    assert "mean" in out
    code, _, err = frcnn("detect", *SMALL, "-S", "detect.framework=tensorflow")
    assert code == 2
    assert "detect.framework: tensorflow has no feature pyramids (model.backbone: mobilenet-v3-320-fpn)" in err


def test_predict_at_once(work: Path, frcnn: Command) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(picture).save(work / "photo.png")
    (work / "params.yaml").unlink()
    code, out, err = frcnn("predict", "photo.png", "--weights", "coco-mobilenet-320", "--score-threshold", "0")
    assert (code, err) == (0, "")
    found = json.loads((work / "predictions" / "detections.json").read_text())
    assert len(found[0]["detections"]) == 100
    assert "1 picture, 100 detections" in out
    code, out, _ = frcnn("predict", "photo.png", "--weights", "coco-mobilenet-320", "--score-threshold", "0",
                         "-S", "detect.max_detections=7")  # fmt: skip
    assert "1 picture, 7 detections" in out


def test_models_are_listed(work: Path, frcnn: Command) -> None:
    code, out, err = frcnn("models")
    assert (code, err) == (0, "")
    [line] = [line for line in out.splitlines() if line.startswith("coco-resnet50-v2")]
    assert line.split() == ["coco-resnet50-v2", "resnet50-fpn-v2", "43.7", "280.4", "46.7", "167.1", "yes"]
    assert any(line.split() == ["caffe", "vgg16", "no"] for line in out.splitlines())


def test_a_name_that_does_not_fit(work: Path, frcnn: Command) -> None:
    code, _, err = frcnn("train", "--phase", "1", *SMALL, "-S", "model.weights=coco-resnet50")
    assert code == 2
    assert err == "error: model.weights: coco-resnet50 is for model.backbone: resnet50-fpn; set that"
    code, _, err = frcnn("anchors", *SMALL, "-S", "anchors.strides=from_map")
    assert code == 2
    assert err == "error: anchors.strides: from_map is for imported detectors; set fixed to train"
