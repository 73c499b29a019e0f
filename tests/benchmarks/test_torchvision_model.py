"""The rival has our weights and does our arithmetic."""

from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.inputs import CLASS_NAMES, make_batch
from benchmarks.measure import count_flops
from benchmarks.network import Call, build_model
from benchmarks.torchvision_model import (
    _vgg,
    build_rival,
    rival_detect,
    rival_inputs,
    rival_optimizer,
    rival_training_step,
)
from frcnn.backbones import BACKBONES
from frcnn.data.voc.annotation import Annotation
from frcnn.detector.batch import Batch
from frcnn.detector.config import detector_config
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import batch_inputs
from frcnn.pytorch.learner import TorchLearner
from tests.factories import change

CPU = torch.device("cpu")
TORCHVISIONS = {"model.width": 64, "model.norm": "frozen", "model.freeze_at": 2}


@pytest.fixture(scope="module")
def full(small: Params) -> Params:
    """Parameters of a ResNet-18 that torchvision has."""
    return change(small, TORCHVISIONS)


def steps(ours: FasterRCNN, rival: Any, params: Params, batch: Batch) -> tuple[Call, Call, Any]:
    """Return a training step of both, and what torchvision's is given."""
    learner = TorchLearner(ours, params.train, CPU, torch.float32)
    inputs = rival_inputs(batch, ours.config.preprocessing, CPU)
    return (
        partial(learner.backward, learner.to_inputs(batch), 2, 1, True, (0,)),
        partial(rival_training_step, rival, rival_optimizer(rival, params), inputs, torch.float32),
        inputs,
    )


def test_both_train_on_the_same_arithmetic(full: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, full)
    ours = build_model(full, batch, CPU, training=True)
    rival = build_rival(ours, full)
    step, rival_step, inputs = steps(ours, rival, full, batch)
    assert count_flops(rival_step) == pytest.approx(count_flops(step), rel=1e-3)  # it has deltas for background too
    classified: list[int] = []
    for head in (ours.head, rival.roi_heads.box_head):
        head.register_forward_hook(lambda module, inputs, output: classified.append(len(output)))
    step()
    rival_step()
    assert classified == [2 * full.train.roi.batch_size] * 2
    rival_training_step(rival, rival_optimizer(rival, full), inputs, torch.bfloat16)
    assert torch.backends.cudnn.allow_tf32
    frozen = [sum(p.numel() for p in model.parameters() if not p.requires_grad) for model in (ours, rival)]
    assert frozen[0] == frozen[1] > 0


def test_both_detect_from_the_same_features_and_scores(full: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, full)
    ours = build_model(full, batch, CPU, training=False)
    rival = build_rival(ours, full)
    images, targets = rival_inputs(batch, ours.config.preprocessing, CPU)
    assert [len(target["boxes"]) for target in targets] == (batch.gt_labels > 0).sum(1).tolist()
    assert rival.transform([torch.zeros(3, 64, 90)])[0].tensors.shape == (1, 3, 64, 90)  # not padded
    transformed, _ = rival.transform(images)
    with torch.no_grad():
        theirs = rival.backbone(transformed.tensors)
        found = ours._extract(batch_inputs(batch, ours.config).pictures)
        logits, deltas = rival.rpn.head([theirs])
        torch.testing.assert_close(theirs, found.maps[0], rtol=1e-3, atol=1e-3 * found.maps[0].abs().max().item())
        sizes, ratios = len(full.anchors.sizes_of(0)), len(full.anchors.anchor_ratios)
        by_ratio = found.logits.view(2, -1, sizes, ratios).transpose(2, 3).flatten(1)
        torch.testing.assert_close(logits[0].permute(0, 2, 3, 1).flatten(1), by_ratio, rtol=1e-2, atol=1e-2)
        own = found.deltas.view(2, -1, sizes, ratios, 4).transpose(2, 3).flatten(1)
        torch.testing.assert_close(deltas[0].permute(0, 2, 3, 1).flatten(1), own, rtol=1e-2, atol=1e-2)
        vectors = torch.randn(3, ours.head.out_channels)
        class_logits, box_deltas = rival.roi_heads.box_predictor(vectors)
        own_logits, own_deltas = ours.predictor(vectors)
        torch.testing.assert_close(class_logits, own_logits)
        torch.testing.assert_close(box_deltas.view(3, -1, 4)[:, 1:], own_deltas)
    detect = partial(rival_detect, rival, images, torch.float32)
    assert all(len(image["boxes"]) for image in detect())


@pytest.mark.parametrize("backbone", [name for name, table in BACKBONES.items() if table.family == "pyramid"])
def test_pyramids_do_the_same(small: Params, pictures: list[Annotation], backbone: str) -> None:
    changes = TORCHVISIONS | {"model.backbone": backbone, "data.size_divisor": 32, "model.roi_pool.aligned": False}
    sizes = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)) if "resnet" in backbone else ((32.0, 64.0),)
    params = change(small, changes | {"anchors.anchor_sizes": sizes, "anchors.rpn_straddle_thresh": None})
    batch = make_batch(pictures, params)
    ours = build_model(params, batch, CPU, training=True)
    rival = build_rival(ours, params)
    step, rival_step, inputs = steps(ours, rival, params, batch)
    assert count_flops(rival_step) == pytest.approx(count_flops(step), rel=2e-2)
    frozen = [sum(p.numel() for p in model.parameters() if not p.requires_grad) for model in (ours, rival)]
    assert frozen[0] == frozen[1] > 0
    with torch.no_grad():
        maps = ours.eval()._extract(batch_inputs(batch, ours.config).pictures).maps
        theirs = rival.eval().backbone(rival.transform(inputs[0])[0].tensors).values()
    for own, their in zip(maps, theirs, strict=True):
        torch.testing.assert_close(own, their, rtol=1e-3, atol=1e-3 * their.abs().max().item())


def test_vgg_has_the_same_layers(full: Params, pictures: list[Annotation]) -> None:
    """On the meta device, which computes nothing."""
    with torch.device("meta"):
        ours = FasterRCNN(detector_config(CLASS_NAMES, change(full, {"model.backbone": "vgg16"})))
        backbone, head = _vgg(full)
    for own, theirs in ((ours.backbone, backbone), (ours.head, head)):
        shapes = [{key: value.shape for key, value in part.state_dict().items()} for part in (own, theirs)]
        assert shapes[0] == shapes[1]


def test_networks_that_torchvision_lacks_are_refused(small: Params, pictures: list[Annotation]) -> None:
    ours = build_model(small, make_batch(pictures, small), CPU, training=False)
    with pytest.raises(UserError, match="no ResNet of model.width 16; set 64"):
        build_rival(ours, small)
