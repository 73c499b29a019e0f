"""Classification weights under torchvision's key names: VGG-16 (torchvision's or Caffe's) and ResNets."""

from collections.abc import Iterable, Sequence

from torchvision.models.resnet import Bottleneck

from frcnn.detector.config import TORCHVISION, preprocessing_of
from frcnn.errors import UserError
from frcnn.importing.part import Part, Recognized, Tensors
from frcnn.pytorch.backbones.resnet import LAYERS
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
    return Recognized(layout, backbone, preprocessing_of(backbone), _used(tensors), same_parts)


def recognize_resnet(tensors: Tensors, path: str) -> Recognized:
    """Return what a ResNet's weights are, by its blocks.

    Raises:
        UserError: it is of no known depth.
    """
    backbone = resnet_of(tensors, [f"layer{stage}." for stage in (1, 2, 3, 4)], path)
    return Recognized(f"{backbone}, torchvision's names", backbone, TORCHVISION, _used(tensors), same_parts)


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
    for backbone, (block, layers) in LAYERS.items():
        if layers == blocks and (block is Bottleneck) == bottleneck:
            return backbone
    raise UserError(f"{path}: a ResNet with {', '.join(map(str, blocks))} blocks, which is none of {', '.join(LAYERS)}")


def same_parts(expected: Tensors) -> dict[str, Part]:
    """Return parts of equal names and shapes."""
    return {name: Part(name, tensor.shape) for name, tensor in expected.items()}


def _used(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(UNUSED)}
