"""What a detector is, apart from its weights; stored inside every weights file."""

from dataclasses import dataclass

from frcnn.params import Anchors, Data, Model


@dataclass(frozen=True)
class Preprocessing:
    """Turn uint8 RGB into the input of a backbone: (channels in `order` * scale - mean) / std."""

    order: str
    scale: float
    mean: list[float]
    std: list[float]


CAFFE = Preprocessing("BGR", 1.0, [103.939, 116.779, 123.680], [1.0, 1.0, 1.0])
TORCHVISION = Preprocessing("RGB", 1 / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def preprocessing_of(backbone: str) -> Preprocessing:
    """Return the preprocessing that a backbone's published weights expect (vgg16: the Caffe ones)."""
    return CAFFE if backbone == "vgg16" else TORCHVISION


@dataclass(frozen=True)
class DetectorConfig:
    """Everything that `predict` needs beside the tensors; class_names are without background."""

    class_names: list[str]
    model: Model
    anchors: Anchors
    data: Data
    preprocessing: Preprocessing
