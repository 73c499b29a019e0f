"""Checkpoints of detectron2's Faster R-CNN C4 with a ResNet: its model zoo's (.pkl) and those that it writes (.pth).

A ResNet's stem and res2 to res5 are torchvision's conv1 with bn1 and layer1 to layer4, but that a block has its stride
in its first convolution. Background is the last class; the regressor has no rows for it. Anchors and deltas are in our
order, and the deltas of RoIs are divided by (0.1, 0.1, 0.2, 0.2), as ours are.
"""

import re
from functools import partial
from typing import Any

import torch

from frcnn.detector.config import Preprocessing
from frcnn.errors import UserError
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource, unchanged
from frcnn.importing.torchvision_names import resnet_of

DETECTRON2 = Preprocessing(order="BGR", scale=1.0, mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0))
STEM = "backbone.stem.conv1"
RPN, ROI = "proposal_generator.rpn_head", "roi_heads.box_predictor"
STAGES = ["backbone.res2.", "backbone.res3.", "backbone.res4.", "roi_heads.res5."]
MODULES = {
    "backbone.conv1": STEM,
    "backbone.bn1": f"{STEM}.norm",
    "backbone.layer1": "backbone.res2",
    "backbone.layer2": "backbone.res3",
    "backbone.layer3": "backbone.res4",
    "head.layer4": "roi_heads.res5",
    "rpn.conv": f"{RPN}.conv",
    "rpn.objectness": f"{RPN}.objectness_logits",
    "rpn.deltas": f"{RPN}.anchor_deltas",
    "predictor.classes": f"{ROI}.cls_score",
    "predictor.deltas": f"{ROI}.bbox_pred",
}
# Constants that some versions keep among the weights; their values are those of `PARAMETERS` and `DETECTRON2`.
CONSTANTS = ("proposal_generator.anchor_generator.", "pixel_mean", "pixel_std")
PARAMETERS = (
    "model.stride_in_1x1=true",
    "model.delta_clamp=true",
    "model.head_pool=avg",
    "model.proposals={min_size: 0, nms_threshold: 0.7, exclude_edge: false, mask_padding: false}",
    "model.roi_pool={op: align, size: 14, sampling_ratio: 0, clip: false}",
    "anchors.anchor_sizes=[32, 64, 128, 256, 512]",
    "anchors.anchor_ratios=[0.5, 1, 2]",
    "anchors.anchor_offset=0",
)
PREFERRED = (
    "data={min_size: 800, max_size: 1333, rounding: nearest, interpolation: bilinear, box_convention: voc}",
    "detect.post_nms_topk=1000",
    "detect.nms_threshold=0.5",
    "detect.count_empty=true",
)


def is_detectron2(tensors: Tensors) -> bool:
    """Tell whether tensors are named as detectron2 names a detector's, C4 or another."""
    return any(name.startswith(("backbone.stem.", "backbone.bottom_up.")) for name in tensors)


def require_detector(content: Any, path: str) -> None:
    """Refuse what a .pkl of Facebook's projects holds where it is no detector of detectron2.

    Raises:
        UserError: it is of Detectron or Caffe2, or a backbone alone.
    """
    about = content if isinstance(content, dict) else {}
    if "blobs" in about or about.get("__author__") == "Caffe2":
        raise UserError(f"{path}: a file of Caffe2 or Detectron, whose names are not read; take detectron2's")
    if about.get("matching_heuristics"):
        raise UserError(f"{path}: a backbone of detectron2 without a detector; take torchvision's weights instead")


def recognize_detectron2(tensors: Tensors, path: str) -> Recognized:
    """Return what a checkpoint holds.

    Raises:
        UserError: it is no C4 detector, or its ResNet is none of those here.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(CONSTANTS)}
    others = {"backbone.bottom_up.": "a feature pyramid", "roi_heads.mask_head.": "Mask R-CNN"}
    for prefix, name in others.items():
        if any(tensor.startswith(prefix) for tensor in tensors):
            raise UserError(f"{path}: holds {name} of detectron2; only its Faster R-CNN with R50-C4 or R101-C4 is read")
    backbone = resnet_of(tensors, STAGES, path)
    width = tensors[f"{STEM}.weight"].shape[0] if f"{STEM}.weight" in tensors else 64
    return Recognized(
        "detectron2's C4 checkpoint",
        backbone,
        DETECTRON2,
        tensors,
        _sources,
        class_bias=f"{ROI}.cls_score.bias",
        parameters=(f"model.width={width}", *PARAMETERS),
        preferred=PREFERRED,
    )


def _sources(expected: Tensors) -> dict[str, TensorSource]:
    sources = {}
    for name, tensor in expected.items():
        module = next(module for module in MODULES if name.startswith(f"{module}."))
        rest = name.removeprefix(module)
        for pattern, there in ((r"\.bn(\d)\.", r".conv\1.norm."), (r"\.downsample\.0\.", ".shortcut."),
                               (r"\.downsample\.1\.", ".shortcut.norm.")):  # fmt: skip
            rest = re.sub(pattern, there, rest)
        convert = partial(torch.roll, shifts=1, dims=0) if module == "predictor.classes" else unchanged
        sources[name] = TensorSource(MODULES[module] + rest, tensor.shape, convert)
    return sources
