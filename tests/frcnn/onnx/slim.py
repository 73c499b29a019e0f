"""Small detectors with random weights that find something, and pictures of large squares."""

import numpy as np
import pytest
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from frcnn.params import Model, Params
from frcnn.pytorch import faster_rcnn
from frcnn.pytorch.backbones.vgg import VGGBackbone, VGGHead
from frcnn.pytorch.faster_rcnn import FasterRCNN
from tests.factories import build, change


def slim_vgg(model: Model) -> tuple[VGGBackbone, VGGHead]:
    """Return VGG-16 an eighth as wide, with 32 channels in the head."""
    backbone = VGGBackbone(make_layers([each if each == "M" else each // 8 for each in cfgs["D"]]), model.freeze_at)
    backbone.out_channels = 64
    classifier = nn.Sequential(nn.Linear(64 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU())
    head = VGGHead(classifier, model.dropout)
    head.out_channels = 32
    return backbone, head


def slim_detector(params: Params, backbone: str, monkeypatch: pytest.MonkeyPatch) -> FasterRCNN:
    """Return a detector of three classes in evaluation mode; the spread of its scores is that of a trained one."""
    monkeypatch.setitem(faster_rcnn.BUILD, "vgg", slim_vgg)
    params = change(params, {"model.width": 16 if backbone == "resnet18" else 64})
    model = build(params, {"backbone": backbone}).eval()
    for name, parameter in model.backbone.named_parameters():
        if name.endswith("weight") and parameter.ndim == 4:
            nn.init.kaiming_normal_(parameter)
    spread = {"resnet18": 0.015, "vgg16": 0.01}.get(backbone, 0.1)
    for layer, deviation in ((model.predictor.classes, spread), (model.rpn.objectness, 0.05)):
        nn.init.normal_(layer.weight, std=deviation)
    return model


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 of random squares of 11 px."""
    squares = np.random.default_rng(seed).integers(0, 256, (height // 11 + 1, width // 11 + 1, 3), np.uint8)
    return np.ascontiguousarray(np.kron(squares, np.ones((11, 11, 1), np.uint8))[:height, :width])
