"""Checkpoints of the reference implementation's PyTorch side: {"epoch", "model_state_dict"}.

Its three stages hold backbone, RPN and head. Anchors are in our order; deltas are (dy, dx, dh, dw), and the regressor
has, as ours, no rows for background. Files from before November 2022 name fc6 and fc7 without
`_pool_to_feature_vector`.
"""

from functools import partial

from frcnn.backbones import BACKBONES
from frcnn.detector.config import PREPROCESSING
from frcnn.detector.layouts import VGG_LAYERS
from frcnn.importing.rearrange import swap_delta_axes
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource, unchanged
from frcnn.importing.torchvision_names import resnet_of

STAGE1 = "_stage1_feature_extractor."
RPN = "_stage2_region_proposal_network."
HEAD = "_stage3_detector_network."
VECTOR = f"{HEAD}_pool_to_feature_vector."
RESNET = f"{STAGE1}_feature_extractor."

OUTPUTS = {
    "rpn.conv": f"{RPN}_rpn_conv1",
    "rpn.objectness": f"{RPN}_rpn_class",
    "rpn.deltas": f"{RPN}_rpn_boxes",
    "predictor.classes": f"{HEAD}_classifier",
    "predictor.deltas": f"{HEAD}_regressor",
}
# Of a ResNet: our module and the number that the same layers have in a sequence of conv1, bn1, relu, maxpool, layer1...
RESNET_LAYERS = {
    "backbone.conv1": f"{RESNET}0",
    "backbone.bn1": f"{RESNET}1",
    "backbone.layer1": f"{RESNET}4",
    "backbone.layer2": f"{RESNET}5",
    "backbone.layer3": f"{RESNET}6",
    "head.layer4": f"{VECTOR}_layer4",
}


def is_reference(tensors: Tensors) -> bool:
    """Tell whether tensors are named as the reference names them."""
    return any(name.startswith(STAGE1) for name in tensors)


def recognize_reference(tensors: Tensors, path: str) -> Recognized:
    """Return what a checkpoint holds; the backbone is known by its names and blocks.

    Raises:
        UserError: a ResNet of no known depth.
    """
    backbone, modules = _backbone(tensors, path)
    return Recognized(
        "reference checkpoint",
        backbone,
        PREPROCESSING[BACKBONES[backbone].preprocessing],
        tensors,
        partial(_sources, modules | OUTPUTS),
        class_bias=f"{HEAD}_classifier.bias",
    )


def _backbone(tensors: Tensors, path: str) -> tuple[str, dict[str, str]]:
    """Return the backbone and its modules' names: ours to the reference's."""
    if any(name.startswith(f"{STAGE1}_layers.") for name in tensors):
        return "vgg16-torch", {"backbone.features": f"{STAGE1}_layers", "head.classifier": f"{VECTOR}_layers"}
    if any(name.startswith(RESNET) for name in tensors):
        stages = [f"{RESNET_LAYERS[module]}." for module in list(RESNET_LAYERS)[2:]]
        return resnet_of(tensors, stages, path), RESNET_LAYERS
    linear = HEAD if f"{HEAD}_fc1.weight" in tensors else VECTOR
    return "vgg16", {
        f"{'backbone' if layer.startswith('features') else 'head'}.{layer}": (
            f"{STAGE1 if layer.startswith('features') else linear}_{name}"
        )
        for layer, name in VGG_LAYERS.items()
    }


def _sources(modules: dict[str, str], expected: Tensors) -> dict[str, TensorSource]:
    sources = {}
    for name, tensor in expected.items():
        module = next(module for module in modules if name.startswith(f"{module}."))
        convert = swap_delta_axes if module.endswith(".deltas") else unchanged
        sources[name] = TensorSource(modules[module] + name.removeprefix(module), tensor.shape, convert)
    return sources
