"""Every backbone of the published reproduction at full size: two steps, save, reload from the file alone, predict."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.data.resizing.sizes import resized_size
from frcnn.detector.batch import Batch, pad_images
from frcnn.detector.config import detector_config
from frcnn.detector.run import detect_pictures
from frcnn.detector.weights_file import write_weights
from frcnn.params import Detect, load_params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector, load_detector
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.pytorch.weights import arrays_of
from tests.factories import ROOT, change, grid_of, losses_of

SIZES = [(800, 600), (750, 600)]


def make_batch(pictures: list[np.ndarray], backbone: str) -> Batch:
    rows, columns = grid_of((800, 600), backbone)
    index = np.arange(0, rows * columns * 9, rows * columns * 9 // 256)[None, :256].repeat(2, 0)
    labels = (np.arange(256) % 8 == 0).astype(np.int64)[None].repeat(2, 0)
    gt = np.array([[[100, 100, 400, 380], [300, 200, 700, 500]]], np.float32).repeat(2, 0)
    deltas, priorities = np.zeros((2, 256, 4), np.float32), torch.rand(2, 2002).numpy()
    classes = np.array([[7, 15]] * 2)
    return Batch(pad_images(pictures), SIZES, gt, classes, index, labels, deltas, priorities, ["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vgg16", "vgg16-torch", "resnet50", "resnet101", "resnet152"])
def test_backbone(backbone: str, tmp_path: Path) -> None:
    # `norm: trained`: without pretrained weights a frozen norm lets a deep ResNet's activations explode.
    changes = ("model.weights=none", "model.norm=trained", "model.freeze_at=0", f"model.backbone={backbone}")
    params = load_params(ROOT / "params.yaml", changes)
    torch.manual_seed(0)
    config = detector_config([f"class{i}" for i in range(20)], params)
    model = FasterRCNN(config).to(memory_format=torch.channels_last)
    pictures = [np.random.default_rng(i).integers(0, 255, (h, w, 3), np.uint8) for i, (w, h) in enumerate(SIZES)]
    assert [resized_size(size, params.data) for size in SIZES] == SIZES
    optimizer = build_optimizer(model, params.train.optimizer)
    set_learning_rate(optimizer, 1e-4)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for _ in range(2):
        losses = losses_of(model, make_batch(pictures, backbone), change(params.train, {"roi.batch_size": 32}))
        total = torch.stack(list(losses.values())).sum(0).mean()
        assert total.isfinite()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []

    write_weights(tmp_path / "w.safetensors", model.config, arrays_of(model), {})
    settings = Detect(score_threshold=0.0, post_nms_topk=50)
    wanted = detect_pictures(TorchDetector(model.eval(), torch.device("cpu")), pictures, settings)
    found = detect_pictures(load_detector(tmp_path / "w.safetensors", "cpu"), pictures, settings)
    for image, expected in zip(found, wanted, strict=True):
        assert len(image) > 10
        for name in ("boxes", "scores", "labels"):
            np.testing.assert_array_equal(getattr(image, name), getattr(expected, name))
