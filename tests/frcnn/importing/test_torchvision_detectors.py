"""torchvision's four detectors with a pyramid: the same detections, by the same weights, in our network."""

import copy
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d

from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import COUNTER
from frcnn.errors import UserError
from frcnn.importing.convert import class_names_of, detector_weights, fixed_parameters
from frcnn.importing.recognize import recognize
from frcnn.params import Detect, load_params
from frcnn.pretrained import coco_weights
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector
from frcnn.pytorch.weights import load_arrays
from tests.factories import change

BUILD: dict[str, Callable[..., detection.FasterRCNN]] = {
    "resnet50-fpn": detection.fasterrcnn_resnet50_fpn,
    "resnet50-fpn-v2": detection.fasterrcnn_resnet50_fpn_v2,
    "mobilenet-v3-fpn": detection.fasterrcnn_mobilenet_v3_large_fpn,
    "mobilenet-v3-320-fpn": detection.fasterrcnn_mobilenet_v3_large_320_fpn,
}
# Pictures whose sides torchvision leaves as they are.
SHORT, LONG = 192, 288
CATEGORIES = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
SIZES = {"one": [(250, 192)], "batch": [(192, 275), (288, 192)]}


def pictures(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Return pictures of (width, height) with structure of several sizes."""
    rng = np.random.default_rng(3)
    drawn = []
    for width, height in sizes:
        octaves = [
            np.kron(rng.normal(size=(-(-height // cell), -(-width // cell), 3)), np.ones((cell, cell, 1)))
            for cell in (64, 24, 8, 1)
        ]
        drawn.append((128 + 40 * sum(each[:height, :width] for each in octaves)).clip(0, 255).astype(np.uint8))
    return drawn


@cache
def lively(backbone: str) -> detection.FasterRCNN:
    """Return torchvision's model with random weights whose norms fit its features and whose outputs differ."""
    torch.manual_seed(5)
    model = BUILD[backbone](weights=None, weights_backbone=None, min_size=SHORT, max_size=LONG)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of all batches
            # The branches of a deep network add up; small ones keep rounding from growing, as trained ones do.
            gain = 0.3 if name.endswith("bn3") else 1.0
            nn.init.uniform_(module.weight, 0.5 * gain, 1.5 * gain)
            nn.init.normal_(module.bias, std=0.2)
    images = [as_torchvision(picture) for picture in pictures([(224, 192), (192, 256), (250, 192)])]
    with torch.no_grad():
        for image in images:
            model.backbone(model.transform([image, image.flip(2)])[0].tensors)
    model.eval()
    rpn, heads = model.rpn.head, model.roi_heads
    with torch.no_grad():
        features = list(model.backbone(model.transform(images[:1])[0].tensors).values())
        spread(rpn.conv, torch.cat([rpn.conv(each).flatten() for each in features]), 1.0)
        logits, deltas = rpn(features)
        spread(rpn.cls_logits, torch.cat([each.flatten() for each in logits]), 2.0)
        rpn.cls_logits.bias.fill_(-3.0)
        spread(rpn.bbox_pred, torch.cat([each.flatten() for each in deltas]), 0.1)
        if backbone == "resnet50-fpn-v2":
            heads.box_head.train()
            heads.box_head(torch.randn(64, 256, 7, 7) * features[0].std())
            heads.box_head.eval()
        vectors = heads.box_head(torch.randn(64, 256, 7, 7) * features[0].std())
        spread(heads.box_predictor.cls_score, heads.box_predictor.cls_score(vectors), 2.0)
        spread(heads.box_predictor.bbox_pred, heads.box_predictor.bbox_pred(vectors), 0.5)
        unused = [row for row, name in enumerate(CATEGORIES) if name == "N/A"]
        heads.box_predictor.cls_score.bias[unused] = -30  # as good as never in a trained detector
    return model


def spread(layer: nn.Module, outputs: Tensor, wanted: float) -> None:
    """Scale a layer's last weight so that its outputs have about the wanted standard deviation."""
    weights = [parameter for parameter in layer.parameters() if parameter.ndim > 1]
    weights[-1].mul_(wanted / outputs.std())


def as_torchvision(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1) / 255


def imported(path: Path, sha256: str = "") -> tuple[TorchDetector, Detect]:
    """Return our detector and the settings of detection that come with a file."""
    found = recognize(path, sha256, None)
    params = load_params(Path("default"), [*found.preferred, *fixed_parameters(found)])
    config = detector_config(class_names_of(found), params)
    network = FasterRCNN(config)
    load_arrays(network, detector_weights(found, config, str(path)), str(path))
    return TorchDetector(network.eval(), torch.device("cpu")), params.detect


@pytest.fixture(scope="module", params=BUILD)
def backbone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def saved(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model.pth"
    torch.save(lively(backbone).state_dict(), path)
    return path


@pytest.mark.parametrize("case", SIZES)
def test_the_detections_are_torchvisions(backbone: str, saved: Path, case: str) -> None:
    model = lively(backbone)
    detector, settings = imported(saved)
    if backbone == "mobilenet-v3-320-fpn":  # whose weights tell nothing but the digest of the published file does
        assert detector.config.model.backbone == "mobilenet-v3-fpn"
        settings = change(settings, {"pre_nms_topk": 150, "post_nms_topk": 150})
    else:
        assert detector.config.model.backbone == backbone
    same_detections(model, detector, settings, pictures(SIZES[case]))


def same_detections(
    model: detection.FasterRCNN, detector: TorchDetector, settings: Detect, images: list[np.ndarray]
) -> None:
    """Require the same detections, boxes to 0.01 px, scores to 1e-4; so they are in the same order but for ties."""
    assert difference(model, detector, settings, images) == ""


def difference(model: detection.FasterRCNN, detector: TorchDetector, settings: Detect, images: list[np.ndarray]) -> str:
    """Return in what the detections of both differ."""
    with torch.no_grad():
        wanted = model([as_torchvision(image) for image in images])
    for theirs, ours in zip(wanted, detector.detect(images, settings), strict=True):
        boxes, scores = theirs["boxes"].numpy(), theirs["scores"].numpy()
        assert len(boxes) > 20
        if len(ours) != len(boxes):
            return f"{len(ours)} detections, not {len(boxes)}"
        names = np.array(detector.config.class_names)[ours.labels - 1]
        same_class = names[:, None] == np.array(CATEGORIES)[theirs["labels"]]
        distance = np.where(same_class, np.abs(ours.boxes[:, None] - boxes).max(-1), np.inf)
        partner = distance.argmin(1)
        if len(set(partner)) < len(partner) or distance.min(1).max() > 1e-2:
            return f"boxes or classes, {distance.min(1).max()} px"
        if np.abs(ours.scores - scores[partner]).max() > 1e-4:
            return f"scores, {np.abs(ours.scores - scores[partner]).max()}"
    return ""


@pytest.mark.parametrize("how", ["state", "module.", "checkpoint"])
def test_a_published_resnet50(how: str, tmp_path: Path) -> None:
    """As torchvision publishes it: norms frozen, without an epsilon, and layers named as before version 0.13."""
    model = copy.deepcopy(lively("resnet50-fpn"))
    freeze(model)
    state = {
        re.sub(r"((inner|layer)_blocks\.\d)\.0\.", r"\1.", name).replace("head.conv.0.0.", "head.conv."): tensor
        for name, tensor in model.state_dict().items()
    }
    assert "backbone.fpn.inner_blocks.0.weight" in state
    assert "rpn.head.conv.weight" in state
    content = {
        "state": state,
        "module.": {f"module.{name}": state[name] for name in state},
        "checkpoint": {"model": state},
    }
    torch.save(content[how], tmp_path / "model.pth")
    detector, settings = imported(tmp_path / "model.pth")
    same_detections(model, detector, settings, pictures(SIZES["one"]))


def freeze(module: nn.Module) -> None:
    """Replace the norms of a network by frozen ones without an epsilon."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            child.running_var *= 1e-4  # so small that an epsilon is seen
            child.weight.data *= 1e-2
            frozen = FrozenBatchNorm2d(child.num_features, eps=0.0)
            frozen.load_state_dict({key: value for key, value in child.state_dict().items() if key != COUNTER})
            setattr(module, name, frozen)
        else:
            freeze(child)


@pytest.mark.parametrize(
    "setting",
    [
        "anchors.rounded=false",
        "anchors.strides=fixed",
        "anchors.anchor_offset=0.5",
        "data.size_divisor=1",
        "model.roi_pool.aligned=true",
        "model.proposals.mask_padding=true",
        "model.proposals.score_threshold=0",
    ],
)
def test_each_setting_matters(setting: str, tmp_path: Path) -> None:
    model = lively("mobilenet-v3-fpn")
    torch.save(model.state_dict(), tmp_path / "model.pth")
    found = recognize(tmp_path / "model.pth", "", None)
    params = load_params(Path("default"), [*found.preferred, *fixed_parameters(found), setting])
    config = detector_config(class_names_of(found), params)
    network = FasterRCNN(config)
    load_arrays(network, detector_weights(found, config, "file"), "file")
    detector = TorchDetector(network.eval(), torch.device("cpu"))
    assert difference(model, detector, params.detect, pictures(SIZES["batch"]))


def test_the_detector_for_320_px_is_known_by_its_digest(tmp_path: Path) -> None:
    torch.save(lively("mobilenet-v3-320-fpn").state_dict(), tmp_path / "model.pth")
    published = coco_weights("mobilenet-v3-320-fpn").sha256
    detector, settings = imported(tmp_path / "model.pth", f"{published}{'0' * 56}")
    assert detector.config.model.backbone == "mobilenet-v3-320-fpn"
    assert detector.config.data.min_size == 320
    same_detections(lively("mobilenet-v3-320-fpn"), detector, settings, pictures(SIZES["one"]))


def test_classes_of_ones_own(tmp_path: Path) -> None:
    """A detector of other classes than COCO's keeps all its outputs, in their order."""
    model = BUILD["mobilenet-v3-fpn"](weights=None, weights_backbone=None, num_classes=4)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    found = recognize(tmp_path / "model.pth", "", None)
    params = load_params(Path("default"), [*found.preferred, *fixed_parameters(found)])
    weights = detector_weights(found, detector_config(["a", "b", "c"], params), "file")
    predictor = model.roi_heads.box_predictor
    np.testing.assert_array_equal(weights["predictor.classes.weight"], predictor.cls_score.weight.detach())
    np.testing.assert_array_equal(weights["predictor.deltas.bias"], predictor.bbox_pred.bias.detach()[4:])
    with pytest.raises(UserError, match="has 3 classes, and 20 names are given"):
        detector_weights(found, detector_config(class_names_of(found), params), "file")


@pytest.mark.parametrize(
    "build, name",
    [
        (detection.maskrcnn_resnet50_fpn, "Mask R-CNN"),
        (detection.keypointrcnn_resnet50_fpn, "Keypoint R-CNN"),
        (detection.retinanet_resnet50_fpn, "RetinaNet"),
        (detection.fcos_resnet50_fpn, "FCOS"),
        (detection.ssd300_vgg16, "SSD"),
        (detection.ssdlite320_mobilenet_v3_large, "SSD"),
    ],
)
def test_other_detectors_are_refused_by_name(build: Callable[..., nn.Module], name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        names = build(weights=None, weights_backbone=None).state_dict()
    torch.save({key: torch.zeros(1) for key in names}, tmp_path / "model.pth")
    with pytest.raises(UserError, match=f"model.pth: holds {name} of torchvision; only its Faster R-CNN"):
        recognize(tmp_path / "model.pth", "", None)


def test_a_file_that_lacks_a_tensor(tmp_path: Path) -> None:
    state = lively("mobilenet-v3-fpn").state_dict()
    del state["roi_heads.box_head.fc7.bias"]
    torch.save(state, tmp_path / "model.pth")
    with pytest.raises(UserError, match="missing roi_heads.box_head.fc7.bias"):
        imported(tmp_path / "model.pth")
