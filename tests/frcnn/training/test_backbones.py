"""Every backbone of the published reproduction at full size: two steps, save, reload from the file alone, predict."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.anchors.grid import feature_grid
from frcnn.data.resizing.sizes import resized_size
from frcnn.detector.config import DetectorConfig, preprocessing_of
from frcnn.params import Detect, load_params
from frcnn.pytorch.faster_rcnn import Batch, FasterRCNN
from frcnn.pytorch.inference import TorchDetector, detect_images, load_detector, pad_images
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.pytorch.weights import save_weights

ROOT = Path(__file__).resolve().parents[3]
SIZES = [(800, 600), (750, 600)]


def make_batch(pictures: list[np.ndarray], backbone: str) -> Batch:
    rows, columns = feature_grid(800, 600, backbone)
    index = torch.arange(0, rows * columns * 9, rows * columns * 9 // 256)[:256].repeat(2, 1)
    labels = (torch.arange(256) % 8 == 0).long().repeat(2, 1)
    gt = torch.tensor([[[100.0, 100, 400, 380], [300, 200, 700, 500]]]).repeat(2, 1, 1)
    images = pad_images(pictures)
    return Batch(
        images,
        SIZES,
        gt,
        torch.tensor([[7, 15]] * 2),
        index,
        labels,
        torch.zeros(2, 256, 4),
        torch.rand(2, 2002),
        ["a", "b"],
    )


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vgg16", "vgg16-torch", "resnet50", "resnet101", "resnet152"])
def test_backbone(backbone: str, tmp_path: Path) -> None:
    # `norm: trained`: without pretrained weights a frozen norm lets a deep ResNet's activations explode.
    changes = ("model.weights=none", "model.norm=trained", "model.freeze_at=0", f"model.backbone={backbone}")
    params = load_params(ROOT / "params.yaml", changes)
    torch.manual_seed(0)
    config = DetectorConfig(
        [f"class{i}" for i in range(20)], params.model, params.anchors, params.data, preprocessing_of(backbone)
    )
    model = FasterRCNN(config).to(memory_format=torch.channels_last)
    pictures = [np.random.default_rng(i).integers(0, 255, (h, w, 3), np.uint8) for i, (w, h) in enumerate(SIZES)]
    assert [resized_size(size, params.data) for size in SIZES] == SIZES
    optimizer = build_optimizer(model, params.train)
    set_learning_rate(optimizer, 1e-4)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for _ in range(2):
        losses = model.losses(make_batch(pictures, backbone), replace(params.train, roi_batch=32))
        total = torch.stack(list(losses.values())).sum(0).mean()
        assert total.isfinite()
        total.backward()
        optimizer.step()
        optimizer.zero_grad()
    still = [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]
    assert still == []

    save_weights(tmp_path / "w.safetensors", model.config, model.state_dict(), {})
    settings = Detect(score_threshold=0.0, post_nms_topk=50)
    wanted = detect_images(TorchDetector(model.eval(), torch.device("cpu")), pictures, settings)
    found = detect_images(load_detector(tmp_path / "w.safetensors", "cpu"), pictures, settings)
    for image, expected in zip(found, wanted, strict=True):
        assert len(image["boxes"]) > 10
        for key in image:
            np.testing.assert_array_equal(image[key], expected[key])
