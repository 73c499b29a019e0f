"""torchvision's Faster R-CNN with a feature pyramid: ResNet-50, its second version, and MobileNetV3.

The layers of backbone, pyramid and head have torchvision's names here, too. Its 91 outputs for COCO are background, 80
classes and 10 ids that COCO does not use; the regressor has four rows for background. Anchors are ordered by ratio and
then by size; the deltas of RoIs are divided by (0.1, 0.1, 0.2, 0.2), as ours are.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial

from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from frcnn.detector.config import PREPROCESSING
from frcnn.detector.weights_file import COUNTER
from frcnn.errors import UserError
from frcnn.importing.rearrange import anchors_from_ratio_major
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource, unchanged
from frcnn.pretrained import coco_weights

CATEGORIES = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
COCO_ROWS = [row for row, name in enumerate(CATEGORIES) if name != "N/A"]  # background first
COCO_CLASSES = [CATEGORIES[row] for row in COCO_ROWS[1:]]
RATIOS = 3
EPSILON = 1e-5  # of our batch norms, and of theirs but for the ResNet-50 of the first version, trained without
CLASSES, DELTAS = "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"
MODULES = {
    "backbone": "backbone",
    "rpn.conv": "rpn.head.conv.0.0",
    "rpn.conv2": "rpn.head.conv.1.0",
    "rpn.objectness": "rpn.head.cls_logits",
    "rpn.deltas": "rpn.head.bbox_pred",
    "head": "roi_heads.box_head",
    "predictor.classes": CLASSES,
    "predictor.deltas": DELTAS,
}
# Names of other detectors of torchvision: a part of a tensor's name, and whose it is.
OTHERS = {
    "roi_heads.mask_": "Mask R-CNN",
    "roi_heads.keypoint_": "Keypoint R-CNN",
    "head.regression_head.bbox_ctrness": "FCOS",
    "head.classification_head.cls_logits": "RetinaNet",
    "head.classification_head.module_list": "SSD",
}
# Published files from before torchvision 0.13 name these layers without the block that they are now in.
RENAMED = ((r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
           (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"))  # fmt: skip


def is_torchvision_detector(tensors: Iterable[str]) -> bool:
    """Tell whether tensors are named as those of a detector of torchvision, of whatever kind."""
    return any(name.startswith(("backbone.body.", "head.classification_head.")) for name in tensors)


def recognize_torchvision_detector(state: Tensors, sha256: str, path: str) -> Recognized:
    """Return what a state dict holds.

    Args:
        state: with the counters of batch norms, which only those have that were not frozen.
        sha256: of the file, by which the published MobileNetV3 for 320 px is known from the one for 800.

    Raises:
        UserError: it is another detector of torchvision.
    """
    for part, name in OTHERS.items():
        if any(part in tensor for tensor in state):
            raise UserError(f"{path}: holds {name} of torchvision; only its Faster R-CNN with a pyramid is read")
    tensors = {_current(name): tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    backbone = _backbone(tensors, sha256)
    if backbone == "resnet50-fpn" and len(tensors) == len(state):
        tensors = {name: _rescaled(name, tensors) for name in tensors}
    bias, deltas = tensors.get(f"{CLASSES}.bias"), tensors.get(f"{DELTAS}.bias")
    if bias is not None and deltas is not None and len(deltas) == 4 * len(bias) == 4 * len(CATEGORIES):
        tensors = {name: _used_rows(name, tensor) for name, tensor in tensors.items()}
    return Recognized(
        f"torchvision's {backbone}",
        backbone,
        PREPROCESSING["torchvision"],
        tensors,
        _sources,
        class_bias=f"{CLASSES}.bias",
        parameters=_parameters(backbone),
        preferred=_preferred(backbone),
    )


def _current(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _backbone(tensors: Tensors, sha256: str) -> str:
    if any(name.startswith("backbone.body.layer1.") for name in tensors):
        return "resnet50-fpn-v2" if "backbone.fpn.inner_blocks.0.1.weight" in tensors else "resnet50-fpn"
    small = str(coco_weights("mobilenet-v3-320-fpn").sha256)
    return "mobilenet-v3-320-fpn" if sha256.startswith(small) else "mobilenet-v3-fpn"


def _rescaled(name: str, tensors: Tensors) -> Tensor:
    """Return a tensor; of a batch norm with an epsilon of 0 the weight that gives the same scale with ours."""
    variance = tensors.get(name.removesuffix("weight") + "running_var")
    if variance is None or not name.endswith(".weight"):
        return tensors[name]
    wide = variance.double()
    return (tensors[name].double() * ((wide + EPSILON) / wide).sqrt()).float()


def _used_rows(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of COCO's 91 outputs with the rows of background and the 80 classes, others as they are."""
    if name.startswith(f"{CLASSES}."):
        return tensor[COCO_ROWS]
    if name.startswith(f"{DELTAS}."):
        return tensor.unflatten(0, (len(CATEGORIES), 4))[COCO_ROWS].flatten(0, 1)
    return tensor


def _parameters(backbone: str) -> tuple[str, ...]:
    """Return what torchvision's detector is computed with."""
    mobile = backbone.startswith("mobilenet")
    sizes = "[32, 64, 128, 256, 512]" if mobile else "[[32], [64], [128], [256], [512]]"
    least = 0.05 if mobile else 0
    return (
        "model.width=64",
        "model.stride_in_1x1=false",
        "model.delta_clamp=true",
        f"model.proposals={{min_size: 0.001, score_threshold: {least}, nms_threshold: 0.7, exclude_edge: false, "
        "mask_padding: false}",
        "model.roi_pool={op: align, size: 7, sampling_ratio: 2, aligned: false, clip: false}",
        f"anchors.anchor_sizes={sizes}",
        "anchors.anchor_ratios=[0.5, 1, 2]",
        "anchors.anchor_offset=0",
        "anchors.rounded=true",
        "anchors.strides=from_map",
    )


def _preferred(backbone: str) -> tuple[str, ...]:
    small = backbone == "mobilenet-v3-320-fpn"
    shortest, longest, proposals = (320, 640, 150) if small else (800, 1333, 1000)
    return (
        f"data={{min_size: {shortest}, max_size: {longest}, rounding: down, interpolation: bilinear, "
        "antialias: false, size_divisor: 32, box_convention: voc}",
        f"detect.pre_nms_topk={proposals}",
        f"detect.post_nms_topk={proposals}",
        "detect.nms_threshold=0.5",
    )


def _sources(expected: Tensors) -> dict[str, TensorSource]:
    sources = {}
    for name, tensor in expected.items():
        module = next(module for module in MODULES if name.startswith(f"{module}."))
        rows, *rest = tensor.shape
        convert: Callable[[Tensor], Tensor] = unchanged
        there = rows
        if module in ("rpn.objectness", "rpn.deltas"):
            per_anchor = 4 if module == "rpn.deltas" else 1
            convert = partial(anchors_from_ratio_major, ratios=RATIOS, sizes=rows // (RATIOS * per_anchor))
        elif module == "predictor.deltas":
            convert, there = _without_background, rows + 4
        sources[name] = TensorSource(MODULES[module] + name.removeprefix(module), (there, *rest), convert)
    return sources


def _without_background(rows: Tensor) -> Tensor:
    return rows[4:]
