"""Weight files as other projects write them: their names and shapes, numbers drawn for each name."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from frcnn.data.voc.dataset import VOC_CLASSES
from frcnn.detector.config import detector_config
from frcnn.importing import detectron2
from frcnn.importing.convert import detector_weights
from frcnn.importing.tensor_source import Recognized
from frcnn.params import Params, load_params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import load_arrays

# VGG-16, configuration D: index in torchvision's `features`, block, convolution, channels in and out.
VGG_CONVOLUTIONS = [
    (0, 1, 1, 3, 64), (2, 1, 2, 64, 64),
    (5, 2, 1, 64, 128), (7, 2, 2, 128, 128),
    (10, 3, 1, 128, 256), (12, 3, 2, 256, 256), (14, 3, 3, 256, 256),
    (17, 4, 1, 256, 512), (19, 4, 2, 512, 512), (21, 4, 3, 512, 512),
    (24, 5, 1, 512, 512), (26, 5, 2, 512, 512), (28, 5, 3, 512, 512),
]  # fmt: skip


def numbers(name: str, *shape: int) -> Tensor:
    """Return a tensor that only this name has, of about the scale of a trained layer.

    Its rows are windows into one vector, each a number further: they all differ and take no memory.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    a_row = int(np.prod(shape[1:]))
    vector = torch.randn(shape[0] + a_row, generator=generator) * (2 / a_row) ** 0.5
    return vector.as_strided(shape, (1, *torch.empty(shape, device="meta").stride()[1:]))


def layer(name: str, *weight_shape: int) -> dict[str, Tensor]:
    """Return `name`.weight and `name`.bias."""
    return {
        f"{name}.weight": numbers(f"{name}.weight", *weight_shape),
        f"{name}.bias": numbers(f"{name}.bias", weight_shape[0]),
    }


def imported_detector(found: Recognized, params: Params, source: str) -> FasterRCNN:
    """Return our network, in evaluation mode, with the weights of a file of another project."""
    model = params.model.model_copy(update={"backbone": found.backbone})
    config = detector_config(VOC_CLASSES, params.model_copy(update={"model": model}))
    config = config.model_copy(update={"preprocessing": found.preprocessing})
    with torch.device("meta"):
        network = FasterRCNN(config)
    load_arrays(network, detector_weights(found, config, source), source)
    return network.eval()


def detectron2_arrays() -> dict[str, np.ndarray]:
    """Return the arrays of a narrow R50-C4 of detectron2 for VOC's classes."""
    settings = ["model.backbone=resnet50", "model.norm=frozen", "model.width=16", *detectron2.PARAMETERS]
    with torch.device("meta"):
        network = FasterRCNN(detector_config(VOC_CLASSES, load_params(Path("reference"), settings)))
    sources = detectron2._sources(network.state_dict()).values()
    return {source.name: numbers(source.name, *source.shape).contiguous().numpy() for source in sources}


def vgg_layers(convolution: str, fc6: str, fc7: str) -> dict[str, Tensor]:
    """Return VGG-16 up to fc7; `convolution` is a pattern of {index}, {block} and {number}."""
    tensors: dict[str, Tensor] = {}
    for index, block, number, channels_in, channels_out in VGG_CONVOLUTIONS:
        name = convolution.format(index=index, block=block, number=number)
        tensors |= layer(name, channels_out, channels_in, 3, 3)
    return tensors | layer(fc6, 4096, 25088) | layer(fc7, 4096, 4096)


def vgg_features(image: Tensor, convolution: str, tensors: dict[str, Tensor]) -> Tensor:
    """Return relu5_3 of an image (N, 3, H, W), layer by layer."""
    x = image
    for position, (index, block, number, *_) in enumerate(VGG_CONVOLUTIONS):
        if number == 1 and position:
            x = F.max_pool2d(x, 2)
        name = convolution.format(index=index, block=block, number=number)
        x = F.relu(F.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1))
    return x


def linear(x: Tensor, name: str, tensors: dict[str, Tensor]) -> Tensor:
    """Apply the dense layer of a name."""
    return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def convolve(x: Tensor, name: str, tensors: dict[str, Tensor]) -> Tensor:
    """Apply the convolution of a name, which keeps height and width."""
    weight = tensors[f"{name}.weight"]
    return F.conv2d(x, weight, tensors[f"{name}.bias"], padding=weight.shape[-1] // 2)


def resnet(name: str) -> nn.Module:
    """Return torchvision's ResNet with statistics of its batch norms that are not the trivial ones."""
    torch.manual_seed(zlib.crc32(name.encode()))
    network = torchvision.models.get_model(name, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5)
    return network.eval()


def constants(shapes: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of these names and shapes, each of one number of its own, which take no memory."""
    numbered = enumerate(shapes.items(), 1)
    return {name: torch.tensor(float(i), device="cpu").expand(tensor.shape) for i, (name, tensor) in numbered}


def decode(deltas: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Apply (dy, dx, dh, dw) to boxes (y1, x1, y2, x2), both (..., 4); return (x1, y1, x2, y2)."""
    center, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    center = center + deltas[..., :2] * size
    size = size * np.exp(deltas[..., 2:])
    low, high = center - size / 2, center + size / 2
    return np.stack([low[..., 1], low[..., 0], high[..., 1], high[..., 0]], -1)


def anchors_by(order: str, rows: int, columns: int) -> np.ndarray:
    """Return all anchors (rows * columns * 9, 4) (y1, x1, y2, x2), a cell's nine with `sizes` or `ratios` outside."""
    shapes = [(side * ratio**0.5, side / ratio**0.5) for side, ratio in _nine(order)]
    cells = [(16 * row + 8, 16 * column + 8) for row in range(rows) for column in range(columns)]
    return np.array([[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for y, x in cells for h, w in shapes])


def _nine(order: str) -> Iterator[tuple[float, float]]:
    sides, ratios = (128, 256, 512), (0.5, 1, 2)
    if order == "sizes":
        yield from ((side, ratio) for side in sides for ratio in ratios)
    else:
        yield from ((side, ratio) for ratio in ratios for side in sides)
