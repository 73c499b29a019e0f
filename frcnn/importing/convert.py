"""Turn a recognised file into tensors or a network of ours."""

import torch

from frcnn.detector.config import DetectorConfig
from frcnn.errors import UserError
from frcnn.importing.part import Recognized, Tensors
from frcnn.pytorch.backbones.resnet import build_resnet
from frcnn.pytorch.backbones.vgg import build_vgg
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import check_fit


def fixed_parameters(found: Recognized) -> list[str]:
    """Return the parameters that a detector's file fixes, as `section.key=value`; all layouts here have these."""
    vgg = found.backbone.startswith("vgg")
    return [
        f"model.backbone={found.backbone}",
        f"model.weights={'caffe' if found.backbone == 'vgg16' else 'imagenet'}",
        "model.weights_sha256=null",
        "model.width=64",
        "model.norm=frozen",
        "model.roi_size=7",
        *([] if vgg else ["model.dropout=0"]),
        "anchors.anchor_sizes=[128, 256, 512]",
        "anchors.anchor_ratios=[0.5, 1, 2]",
        "anchors.anchor_offset=0.5",
    ]


def initial_tensors(found: Recognized, source: str) -> Tensors:
    """Return backbone and head of classification weights under torchvision's names, float32.

    Raises:
        UserError: missing, unexpected or misshapen tensors, named as the file names them.
    """
    with torch.device("meta"):
        if found.backbone.startswith("vgg"):
            vgg = build_vgg(freeze_at=0, dropout=0)
            expected = [part.state_dict() for part in vgg]
        else:
            resnet = build_resnet(found.backbone, width=64, norm="frozen", freeze_at=0, head_pool="avg")
            expected = [part.state_dict() for part in resnet]
    return convert(found, expected[0] | expected[1], source)


def detector(found: Recognized, config: DetectorConfig, source: str) -> FasterRCNN:
    """Return the detector that a file holds.

    Raises:
        UserError: the number of classes is not that of the configuration; or as `initial_tensors`.
    """
    bias = found.tensors.get(str(found.class_bias))
    if bias is not None and bias.numel() - 1 != len(config.class_names):
        raise UserError(
            f"{source}: has {bias.numel() - 1} classes, and {len(config.class_names)} names are given; "
            "name a list of its own with --classes"
        )
    with torch.device("meta"):
        model = FasterRCNN(config)
    model.load_state_dict(convert(found, model.state_dict(), source), assign=True)
    return model


def convert(found: Recognized, expected: Tensors, source: str) -> Tensors:
    """Return tensors of the names and shapes of `expected`, whose values are not looked at."""
    parts = found.parts(expected)
    there = {part.name: torch.empty(tuple(part.shape), device="meta") for part in parts.values()}
    check_fit(found.tensors, there, source)
    return {name: part.convert(found.tensors[part.name].float()).contiguous() for name, part in parts.items()}
