"""Classification weights under torchvision's key names: VGG-16 (torchvision's or Caffe's) and ResNets."""

from collections.abc import Iterable, Sequence

from frcnn.backbones import BACKBONES
from frcnn.detector.config import PREPROCESSING
from frcnn.errors import UserError
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource
from frcnn.training.initial_weights import UNUSED


def is_vgg(tensors: Tensors) -> bool:
    """Tell whether tensors are named as in torchvision's VGG."""
    return any(name.startswith("features.") for name in tensors)


def is_resnet(tensors: Tensors) -> bool:
    """Tell whether tensors are named as in torchvision's ResNets."""
    return any(name.startswith("layer1.") for name in tensors)


def recognize_vgg(tensors: Tensors, preparation: str) -> Recognized:
    """Return what VGG-16's weights are; the preparation is caffe or torchvision, which the names do not tell."""
    backbone = "vgg16" if preparation == "caffe" else "vgg16-torch"
    layout = f"VGG-16 ({preparation}), torchvision's names"
    return Recognized(layout, backbone, PREPROCESSING[preparation], _used(tensors), same_sources)


def recognize_resnet(tensors: Tensors, path: str) -> Recognized:
    """Return what a ResNet's weights are, by its blocks.

    Raises:
        UserError: it is of no known depth.
    """
    backbone = resnet_of(tensors, [f"layer{stage}." for stage in (1, 2, 3, 4)], path)
    return Recognized(
        f"{backbone}, torchvision's names", backbone, PREPROCESSING["torchvision"], _used(tensors), same_sources
    )


def resnet_of(names: Iterable[str], stages: Sequence[str], path: str) -> str:
    """Return the ResNet whose four stages' tensors begin with the given prefixes.

    Raises:
        UserError: it has other numbers of blocks than any ResNet here.
    """
    names = list(names)
    blocks = [
        len({name.removeprefix(stage).split(".")[0] for name in names if name.startswith(stage)}) for stage in stages
    ]
    bottleneck = any(".conv3." in name for name in names)
    resnets = {name: backbone for name, backbone in BACKBONES.items() if backbone.family == "resnet"}
    for name, backbone in resnets.items():
        if list(backbone.blocks) == blocks and backbone.bottleneck == bottleneck:
            return name
    raise UserError(
        f"{path}: a ResNet with {', '.join(map(str, blocks))} blocks, which is none of {', '.join(resnets)}"
    )


def same_sources(expected: Tensors) -> dict[str, TensorSource]:
    """Return sources of equal names and shapes."""
    return {name: TensorSource(name, tensor.shape) for name, tensor in expected.items()}


def _used(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(UNUSED)}
