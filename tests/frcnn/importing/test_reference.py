"""The reference's checkpoints compute the same with our network, by both generations of names and every backbone."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid
from frcnn.detector.config import PREPROCESSING, ROI_DELTA_STD
from frcnn.errors import UserError
from frcnn.importing.recognize import recognize
from frcnn.params import Anchors, Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from tests.factories import one_map
from tests.foreign_weights import (
    VGG_CONVOLUTIONS,
    anchors_by,
    constants,
    convolve,
    decode,
    imported_detector,
    layer,
    linear,
    resnet,
    vgg_features,
    vgg_layers,
)

STAGE1, STAGE2, STAGE3 = "_stage1_feature_extractor", "_stage2_region_proposal_network", "_stage3_detector_network"
BLOCKS = STAGE1 + "._block{block}_conv{number}"
VECTOR = f"{STAGE3}._pool_to_feature_vector"


def outputs(channels: int, vector: int) -> dict[str, Tensor]:
    """Return RPN and the two output layers."""
    rpn = layer(f"{STAGE2}._rpn_conv1", channels, channels, 3, 3)
    rpn |= layer(f"{STAGE2}._rpn_class", 9, channels, 1, 1) | layer(f"{STAGE2}._rpn_boxes", 36, channels, 1, 1)
    return rpn | layer(f"{STAGE3}._classifier", 21, vector) | layer(f"{STAGE3}._regressor", 80, vector)


def resnet_checkpoint(network: nn.Module) -> dict[str, Tensor]:
    """Return the stages as the reference cuts a ResNet: a sequence up to layer3, and layer4."""
    n = network
    stage1 = nn.Sequential(n.conv1, n.bn1, n.relu, n.maxpool, n.layer1, n.layer2, n.layer3)
    tensors = {f"{STAGE1}._feature_extractor.{name}": tensor for name, tensor in stage1.state_dict().items()}
    return tensors | {f"{VECTOR}._layer4.{name}": tensor for name, tensor in n.layer4.state_dict().items()}


def save(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({"epoch": 14, "model_state_dict": tensors}, path)


def load(path: Path, reference: Params) -> FasterRCNN:
    found = recognize(path, "", None)
    return imported_detector(found, reference, str(path))


def check_outputs(model: FasterRCNN, features: Tensor, vector: Tensor, tensors: dict[str, Tensor]) -> None:
    """Compare RPN and output layers with the reference's arithmetic, given features and two RoIs' vectors."""
    rows, columns = features.shape[-2:]
    hidden = F.relu(convolve(features, f"{STAGE2}._rpn_conv1", tensors))
    scores = convolve(hidden, f"{STAGE2}._rpn_class", tensors).permute(0, 2, 3, 1).flatten().sigmoid()
    their_deltas = convolve(hidden, f"{STAGE2}._rpn_boxes", tensors).permute(0, 2, 3, 1).reshape(-1, 4)
    logits, deltas = model.rpn([features])
    torch.testing.assert_close(logits[0].sigmoid(), scores, rtol=1e-4, atol=1e-6)
    anchors = torch.from_numpy(anchor_grid(one_map(rows, columns), Anchors()).copy())
    expected = decode(their_deltas.numpy(), anchors_by("sizes", rows, columns))
    np.testing.assert_allclose(boxes.decode(deltas[0], anchors, False), expected, rtol=1e-4, atol=1e-2)

    rois = np.array([[10.0, 20, 110, 90], [30, 5, 60, 200]])  # y1, x1, y2, x2
    class_logits, roi_deltas = model.predictor(vector)
    their_scores = linear(vector, f"{STAGE3}._classifier", tensors).softmax(1)
    torch.testing.assert_close(class_logits.softmax(1), their_scores, rtol=1e-3, atol=1e-6)
    their_deltas = linear(vector, f"{STAGE3}._regressor", tensors).view(2, 20, 4) * torch.tensor([0.1, 0.1, 0.2, 0.2])
    our_rois = torch.tensor(rois[:, [1, 0, 3, 2]], dtype=torch.float32)[:, None]
    found = boxes.decode(roi_deltas * torch.tensor(ROI_DELTA_STD), our_rois, False)
    np.testing.assert_allclose(found, decode(their_deltas.numpy(), rois[:, None]), rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_vgg(reference: Params, tmp_path: Path) -> None:
    fc6, fc7 = f"{VECTOR}._fc1", f"{VECTOR}._fc2"
    tensors = vgg_layers(BLOCKS, fc6, fc7) | outputs(512, 4096)
    save(tensors, tmp_path / "w")
    model = load(tmp_path / "w", reference)
    assert model.config.model.backbone == "vgg16"
    assert model.config.preprocessing == PREPROCESSING["caffe"]
    image, pooled = torch.rand(1, 3, 48, 64), torch.rand(2, 512, 7, 7)
    features = vgg_features(image, BLOCKS, tensors)
    torch.testing.assert_close(model.backbone(image)[0], features, rtol=1e-4, atol=1e-5)
    vector = F.relu(linear(F.relu(linear(pooled.flatten(1), fc6, tensors)), fc7, tensors))
    torch.testing.assert_close(model.head(pooled), vector, rtol=1e-3, atol=1e-4)
    check_outputs(model, features, vector, tensors)


@pytest.mark.parametrize(
    ("backbone", "convolution", "fc6", "fc7"),
    [
        ("vgg16", BLOCKS, f"{STAGE3}._fc1", f"{STAGE3}._fc2"),
        ("vgg16-torch", STAGE1 + "._layers.{index}", f"{VECTOR}._layers.0", f"{VECTOR}._layers.3"),
    ],
    ids=["vgg16 before November 2022", "vgg16-torch"],
)
def test_the_other_names_of_vgg(
    reference: Params, tmp_path: Path, backbone: str, convolution: str, fc6: str, fc7: str
) -> None:
    tensors = constants(vgg_layers(convolution, fc6, fc7) | outputs(512, 4096))
    save(tensors, tmp_path / "w")
    model = load(tmp_path / "w", reference)
    assert model.config.model.backbone == backbone
    assert model.config.preprocessing == (
        PREPROCESSING["caffe"] if backbone == "vgg16" else PREPROCESSING["torchvision"]
    )
    found = model.state_dict()
    pairs = {
        f"backbone.features.{i}": convolution.format(index=i, block=b, number=n) for i, b, n, *_ in VGG_CONVOLUTIONS
    }
    for ours, theirs in (pairs | {"head.classifier.0": fc6, "head.classifier.3": fc7}).items():
        for kind in ("weight", "bias"):
            assert found[f"{ours}.{kind}"].flatten()[:9].unique() == tensors[f"{theirs}.{kind}"].flatten()[0]


@torch.no_grad()
def test_resnet(reference: Params, tmp_path: Path) -> None:
    network = resnet("resnet50")
    tensors = resnet_checkpoint(network) | outputs(1024, 2048)
    assert any(name.endswith("num_batches_tracked") for name in tensors)
    save(tensors, tmp_path / "w")
    model = load(tmp_path / "w", reference)
    assert model.config.model.backbone == "resnet50"
    assert model.config.preprocessing == PREPROCESSING["torchvision"]
    image, pooled = torch.rand(1, 3, 48, 64), torch.rand(2, 1024, 7, 7)
    n = network
    features = nn.Sequential(n.conv1, n.bn1, n.relu, n.maxpool, n.layer1, n.layer2, n.layer3)(image)
    vector = n.layer4(pooled).mean(-1).mean(-1)
    for found, expected in ((model.backbone(image)[0], features), (model.head(pooled), vector)):
        torch.testing.assert_close(found / expected.max(), expected / expected.max(), rtol=1e-3, atol=1e-5)
    check_outputs(model, features / features.std(), vector / vector.std(), tensors)


@pytest.mark.parametrize("backbone", ["resnet101", "resnet152"])
def test_deeper_resnets_are_known_by_their_blocks(reference: Params, tmp_path: Path, backbone: str) -> None:
    with torch.device("meta"):
        tensors = constants(resnet_checkpoint(torchvision.models.get_model(backbone)) | outputs(1024, 2048))
    save(tensors, tmp_path / "w")
    model = load(tmp_path / "w", reference)
    assert model.config.model.backbone == backbone
    found = model.state_dict()
    for ours, theirs in [
        ("backbone.bn1.running_var", f"{STAGE1}._feature_extractor.1.running_var"),
        ("backbone.layer1.2.conv3.weight", f"{STAGE1}._feature_extractor.4.2.conv3.weight"),
        ("backbone.layer2.3.bn2.running_mean", f"{STAGE1}._feature_extractor.5.3.bn2.running_mean"),
        ("backbone.layer3.22.bn3.bias", f"{STAGE1}._feature_extractor.6.22.bn3.bias"),
        ("head.layer4.0.downsample.1.weight", f"{VECTOR}._layer4.0.downsample.1.weight"),
    ]:
        assert found[ours].unique() == tensors[theirs].flatten()[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{STAGE2}._rpn_class.bias"), r"missing _stage2_region_proposal_network\._rpn_class\.bias$"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected extra$"),
        (
            lambda t: t.update({f"{STAGE3}._regressor.bias": torch.zeros(84)}),
            r"_regressor\.bias is \(84,\), expected \(80,\)$",
        ),
        (lambda t: t.update(layer(f"{STAGE3}._classifier", 4, 2048)), "has 3 classes, and 20 names are given"),
        (
            lambda t: [t.pop(name) for name in list(t) if "_feature_extractor.6.5." in name],
            "a ResNet with 3, 4, 5, 3 blocks, which is none of resnet18",
        ),
    ],
    ids=["missing", "extra", "misshapen", "other classes", "a block missing"],
)
def test_what_does_not_fit_is_refused(reference: Params, tmp_path: Path, change, message: str) -> None:
    with torch.device("meta"):
        shapes = resnet_checkpoint(torchvision.models.resnet50()) | outputs(1024, 2048)
    tensors = constants(shapes)
    change(tensors)
    save(tensors, tmp_path / "w")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "w", reference)
