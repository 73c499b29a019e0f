"""The backbones that a detector can have: what the rest of the project has to know about each."""

from dataclasses import dataclass
from typing import Literal

STRIDE = 16  # px of the resized image per cell, of the networks with one feature map


@dataclass(frozen=True)
class Backbone:
    """A classification network whose layers become the backbone and the head of a detector.

    Attributes:
        family: vgg (fully connected head), resnet (layer4 as the head) or pyramid (a feature pyramid on all layers).
        preprocessing: caffe or torchvision, what the published weights expect.
        stages: how many of the backbone's first stages can be frozen.
        grid: whether a feature map has floor(pixels / stride) cells along an axis, or ceil.
        blocks: residual blocks of layer1 to layer4 of a ResNet.
        bottleneck: whether a ResNet's blocks are bottlenecks of three convolutions.
        strides: of each feature map that the RPN looks at, in pixels of the resized image per cell.
        roi_maps: from how many of these, the first, RoIs are pooled.
        body: of a pyramid, torchvision's name of the classification network.
        convolutional_heads: of a pyramid, whether the RPN has a second convolution and the head four, with norms.
        coco: torchvision's name of the enumeration of weights trained on COCO; empty where there are none.
    """

    family: Literal["vgg", "resnet", "pyramid"]
    preprocessing: Literal["caffe", "torchvision"] = "torchvision"
    stages: int = 4
    grid: Literal["floor", "ceil"] = "ceil"
    blocks: tuple[int, int, int, int] = (0, 0, 0, 0)
    bottleneck: bool = False
    strides: tuple[int, ...] = (STRIDE,)
    roi_maps: int = 1
    body: str = ""
    convolutional_heads: bool = False
    coco: str = ""


def _resnet50_pyramid(coco: str, convolutional_heads: bool = False) -> Backbone:
    return Backbone(
        "pyramid",
        stages=5,
        strides=(4, 8, 16, 32, 64),
        roi_maps=4,
        body="resnet50",
        convolutional_heads=convolutional_heads,
        coco=coco,
    )


def _mobilenet_pyramid(coco: str) -> Backbone:
    return Backbone("pyramid", stages=6, strides=(32, 32, 64), roi_maps=2, body="mobilenet_v3_large", coco=coco)


BACKBONES = {
    "vgg16": Backbone("vgg", "caffe", stages=5, grid="floor"),
    "vgg16-torch": Backbone("vgg", stages=5, grid="floor"),
    "resnet18": Backbone("resnet", blocks=(2, 2, 2, 2)),
    "resnet34": Backbone("resnet", blocks=(3, 4, 6, 3)),
    "resnet50": Backbone("resnet", blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": Backbone("resnet", blocks=(3, 4, 23, 3), bottleneck=True),
    "resnet152": Backbone("resnet", blocks=(3, 8, 36, 3), bottleneck=True),
    "resnet50-fpn": _resnet50_pyramid("FasterRCNN_ResNet50_FPN_Weights"),
    "resnet50-fpn-v2": _resnet50_pyramid("FasterRCNN_ResNet50_FPN_V2_Weights", convolutional_heads=True),
    "mobilenet-v3-fpn": _mobilenet_pyramid("FasterRCNN_MobileNet_V3_Large_FPN_Weights"),
    "mobilenet-v3-320-fpn": _mobilenet_pyramid("FasterRCNN_MobileNet_V3_Large_320_FPN_Weights"),
}
