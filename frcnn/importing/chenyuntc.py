"""Checkpoints of chenyuntc's simple-faster-rcnn-pytorch: {"model", "config", ...} or the bare state dict; VGG-16.

Objectness is a softmax of background and foreground for each anchor, anchors are ordered by ratio and then by size,
deltas are (dy, dx, dh, dw), and the regressor's first four rows belong to background. Its RoI deltas are divided by
(0.1, 0.1, 0.2, 0.2), as ours are.
"""

from functools import partial
from typing import Any

from torch import Tensor

from frcnn.detector.config import PREPROCESSING, Preprocessing
from frcnn.importing.rearrange import anchors_from_ratio_major, logit_from_two_way, swap_delta_axes
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource

RATIOS, SIZES = 3, 3
# Of networks that started from Caffe's weights: the means in RGB order are subtracted from channels in BGR order.
CAFFE_REVERSED = Preprocessing(order="BGR", scale=1.0, mean=(122.7717, 115.9465, 102.9801), std=(1.0, 1.0, 1.0))

MODULES = {
    "backbone.features": "extractor",
    "head.classifier.0": "head.classifier.0",
    "rpn.conv": "rpn.conv1",
    "rpn.objectness": "rpn.score",
    "rpn.deltas": "rpn.loc",
    "predictor.classes": "head.score",
    "predictor.deltas": "head.cls_loc",
}


def is_chenyuntc(tensors: Tensors) -> bool:
    """Tell whether tensors are named as that project names them."""
    return any(name.startswith("extractor.") for name in tensors)


def preparation_of(config: Any) -> str | None:
    """Return caffe or torchvision as the checkpoint's `config` says, None where it says nothing."""
    caffe = config.get("caffe_pretrain") if isinstance(config, dict) else None
    if not isinstance(caffe, bool):
        return None
    return "caffe" if caffe else "torchvision"


def recognize_chenyuntc(tensors: Tensors, preparation: str) -> Recognized:
    """Return what a checkpoint holds; the preparation is caffe or torchvision."""
    caffe = preparation == "caffe"
    backbone, preprocessing = ("vgg16", CAFFE_REVERSED) if caffe else ("vgg16-torch", PREPROCESSING["torchvision"])
    # fc7 comes after fc6 and a ReLU, or after a dropout, too.
    modules = MODULES | {"head.classifier.3": f"head.classifier.{3 if 'head.classifier.3.weight' in tensors else 2}"}
    layout = f"chenyuntc's checkpoint ({preparation})"
    return Recognized(
        layout, backbone, preprocessing, tensors, partial(_sources, modules), class_bias="head.score.bias"
    )


def _sources(modules: dict[str, str], expected: Tensors) -> dict[str, TensorSource]:
    sources = {}
    for name, tensor in expected.items():
        module = next(module for module in modules if name.startswith(f"{module}."))
        there = modules[module] + name.removeprefix(module)
        rows, *rest = tensor.shape
        if module == "rpn.objectness":
            sources[name] = TensorSource(there, (2 * rows, *rest), _objectness)
        elif module == "rpn.deltas":
            sources[name] = TensorSource(there, (rows, *rest), _rpn_deltas)
        elif module == "predictor.deltas":
            sources[name] = TensorSource(there, (rows + 4, *rest), _roi_deltas)
        else:
            sources[name] = TensorSource(there, (rows, *rest))
    return sources


def _objectness(rows: Tensor) -> Tensor:
    return anchors_from_ratio_major(logit_from_two_way(rows), RATIOS, SIZES)


def _rpn_deltas(rows: Tensor) -> Tensor:
    return anchors_from_ratio_major(swap_delta_axes(rows), RATIOS, SIZES)


def _roi_deltas(rows: Tensor) -> Tensor:
    return swap_delta_axes(rows[4:])
