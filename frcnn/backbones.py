"""The backbones that a detector can have: what the rest of the project has to know about each."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Backbone:
    """A classification network whose layers become the backbone and the head of a detector.

    Attributes:
        family: vgg (fully connected head) or resnet (layer4 as the head).
        preprocessing: caffe or torchvision, what the published weights expect.
        stages: how many of the backbone's first stages can be frozen.
        grid: whether the feature map has floor(pixels / stride) cells along an axis, or ceil.
        blocks: residual blocks of layer1 to layer4 of a ResNet.
        bottleneck: whether a ResNet's blocks are bottlenecks of three convolutions.
    """

    family: Literal["vgg", "resnet"]
    preprocessing: Literal["caffe", "torchvision"] = "torchvision"
    stages: int = 4
    grid: Literal["floor", "ceil"] = "ceil"
    blocks: tuple[int, int, int, int] = (0, 0, 0, 0)
    bottleneck: bool = False


BACKBONES = {
    "vgg16": Backbone("vgg", "caffe", stages=5, grid="floor"),
    "vgg16-torch": Backbone("vgg", stages=5, grid="floor"),
    "resnet18": Backbone("resnet", blocks=(2, 2, 2, 2)),
    "resnet34": Backbone("resnet", blocks=(3, 4, 6, 3)),
    "resnet50": Backbone("resnet", blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet101": Backbone("resnet", blocks=(3, 4, 23, 3), bottleneck=True),
    "resnet152": Backbone("resnet", blocks=(3, 8, 36, 3), bottleneck=True),
}
