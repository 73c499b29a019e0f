"""Turn a recognized file into arrays of ours."""

from pathlib import Path

import torch

from frcnn.backbones import BACKBONES
from frcnn.data.voc.dataset import VOC_CLASSES
from frcnn.detector.config import DetectorConfig, detector_config
from frcnn.detector.interfaces import Weights
from frcnn.detector.weights_file import check_fit
from frcnn.errors import UserError
from frcnn.importing.tensor_source import Recognized, Tensors
from frcnn.importing.torchvision_detectors import COCO_CLASSES
from frcnn.params import Model, Params, load_params, to_dict
from frcnn.params.training import Postprocessing
from frcnn.pytorch.backbones.resnet import build_resnet
from frcnn.pytorch.backbones.vgg import build_vgg
from frcnn.pytorch.faster_rcnn import FasterRCNN


def fixed_parameters(found: Recognized) -> list[str]:
    """Return the parameters that a detector's file fixes, as `section.key=value`."""
    backbone = BACKBONES[found.backbone]
    return [
        f"model.backbone={found.backbone}",
        f"model.weights={'caffe' if backbone.preprocessing == 'caffe' else 'imagenet'}",
        "model.weights_sha256=null",
        "model.norm=frozen",
        *([] if backbone.family == "vgg" else ["model.dropout=0"]),
        *found.parameters,
    ]


def imported_config(found: Recognized, class_names: list[str], params: Params | None = None) -> DetectorConfig:
    """Return the configuration of a detector that was recognized.

    Args:
        params: with what the file fixes and what its project prefers; None: the defaults with these.
    """
    if params is None:
        params = load_params(Path("default"), [*found.preferred, *fixed_parameters(found)])
    settings = to_dict(params.detect)
    own = any(text.startswith("detect.") for text in found.preferred)
    return detector_config(class_names, params).model_copy(
        update={
            "preprocessing": found.preprocessing,
            "postprocessing": Postprocessing(**{name: settings[name] for name in Postprocessing.model_fields})
            if own
            else None,
        }
    )


def class_names_of(found: Recognized) -> list[str]:
    """Return COCO's names for a detector of 80 classes, in the order of COCO's ids, else VOC's."""
    bias = found.tensors.get(str(found.class_bias))
    return VOC_CLASSES if bias is None or bias.numel() != 1 + len(COCO_CLASSES) else COCO_CLASSES


def classification_weights(found: Recognized, source: str) -> Weights:
    """Return backbone and head of classification weights under torchvision's names, float32.

    Raises:
        UserError: missing, unexpected or misshapen tensors, named as the file names them.
    """
    build = build_vgg if BACKBONES[found.backbone].family == "vgg" else build_resnet
    with torch.device("meta"):
        backbone, head = build(Model(backbone=found.backbone))
    return convert(found, backbone.state_dict() | head.state_dict(), source)


def detector_weights(found: Recognized, config: DetectorConfig, source: str) -> Weights:
    """Return the weights of the detector that a file holds, float32.

    Raises:
        UserError: the number of classes is not that of the configuration; or as `classification_weights`.
    """
    bias = found.tensors.get(str(found.class_bias))
    if bias is not None and bias.numel() - 1 != len(config.class_names):
        raise UserError(
            f"{source}: has {bias.numel() - 1} classes, and {len(config.class_names)} names are given; "
            "name a list of its own with --classes"
        )
    with torch.device("meta"):
        expected = FasterRCNN(config).state_dict()
    return convert(found, expected, source)


def convert(found: Recognized, expected: Tensors, source: str) -> Weights:
    """Return arrays of the names and shapes of `expected`, whose values do not count."""
    sources = found.sources(expected)
    there = {each.name: torch.empty(tuple(each.shape), device="meta") for each in sources.values()}
    check_fit(found.tensors, there, source)
    return {name: each.convert(found.tensors[each.name].float()).contiguous().numpy() for name, each in sources.items()}
