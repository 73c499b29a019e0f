"""The whole network: batches, padding, gradients, frozen parts, every backbone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from frcnn.detections.detections import Detections
from frcnn.detector.batch import Batch, pad_images
from frcnn.detector.config import LOSSES
from frcnn.params import Detect, Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector
from frcnn.pytorch.inputs import image_inputs
from tests.factories import build, change, losses_of
from tests.frcnn.onnx.slim import picture, slim_detector

SIZES = [(96, 64), (64, 96)]


def pictures(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (height, width, 3), dtype=np.uint8) for width, height in sizes]


def make_batch(most: int = 2, topk: int = 50) -> Batch:
    """Return a batch of two pictures with one object and a few sampled anchors per image."""
    count = len(SIZES)
    gt_boxes, gt_labels = np.zeros((count, most, 4), np.float32), np.zeros((count, most), np.int64)
    gt_boxes[:, 0], gt_labels[:, 0] = (10, 12, 45, 50), 2
    index = np.arange(12)[None].repeat(count, 0)
    labels = np.array([[1, 1] + [0] * 9 + [-1]]).repeat(count, 0)
    deltas = np.full((count, 12, 4), 0.1, np.float32)
    priorities = torch.rand(count, 5000, generator=torch.Generator().manual_seed(1))[:, : topk + most].numpy()
    ids = [str(i) for i in range(count)]
    return Batch(pad_images(pictures(SIZES)), SIZES, gt_boxes, gt_labels, index, labels, deltas, priorities, ids)


def detect(
    model: FasterRCNN, images: np.ndarray, settings: Detect, sizes: list[tuple[int, int]] = SIZES
) -> list[tuple[Tensor, Tensor, Tensor]]:
    return model.detect(image_inputs(images, sizes, model.config), settings)


def test_four_losses_per_image(params: Params) -> None:
    losses = losses_of(build(params), make_batch(), params.train)
    assert tuple(losses) == LOSSES
    assert all(loss.shape == (2,) and loss.isfinite().all() for loss in losses.values())


def test_an_image_without_objects_has_losses_but_no_box_losses(params: Params) -> None:
    batch = make_batch()
    batch = replace(batch, gt_boxes=np.zeros((2, 0, 4), np.float32), gt_labels=np.zeros((2, 0), np.int64))
    batch = replace(batch, roi_priorities=batch.roi_priorities[:, :50])
    batch = replace(batch, anchor_labels=batch.anchor_labels.clip(max=0))
    losses = losses_of(build(params), batch, params.train)
    assert (losses["loss_rpn_box"] == 0).all()
    assert (losses["loss_roi_box"] == 0).all()
    assert (losses["loss_roi_cls"] > 0).all()


def test_roi_losses_give_the_rpn_no_gradient(params: Params) -> None:
    model = build(params)
    losses = losses_of(model, make_batch(), params.train)
    (losses["loss_roi_cls"] + losses["loss_roi_box"]).sum().backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.rpn.parameters())
    assert any(parameter.grad.any() for parameter in model.backbone.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("roi_op", ["align", "pool"])
@pytest.mark.parametrize("backbone", ["resnet18", "vgg16"])
def test_neighbors_do_not_leak(params: Params, backbone: str, roi_op: str) -> None:
    """An image in a batch finds what it finds alone at the same padded size, whatever its neighbor shows."""
    model = build(params, {"backbone": backbone, "roi_pool.op": roi_op}).double().eval()
    padded = pad_images(pictures(SIZES))
    settings = Detect(score_threshold=0.0, post_nms_topk=20)
    together = detect(model, padded, settings)
    for i in range(2):
        alone = detect(model, padded[i : i + 1], settings, SIZES[i : i + 1])[0]
        other = padded.copy()
        other[1 - i] = 255 - other[1 - i]
        changed = detect(model, other, settings)[i]
        for found, expected, with_other in zip(together[i], alone, changed, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found, with_other, atol=1e-5, rtol=1e-5)
        assert len(alone[0]) > 3


def test_what_lies_in_the_padding_does_not_matter(params: Params) -> None:
    model = build(params).eval()
    padded = pad_images(pictures(SIZES))
    dirty = padded.copy()
    dirty[0, 64:] = 255
    dirty[1, :, 64:] = 255
    settings = Detect(score_threshold=0.0)
    for clean, other in zip(detect(model, padded, settings), detect(model, dirty, settings), strict=True):
        torch.testing.assert_close(clean, other)


def test_detections_lie_in_their_image(params: Params) -> None:
    found = detect(build(params).eval(), pad_images(pictures(SIZES)), Detect(score_threshold=0.0))
    for (boxes, scores, labels), (width, height) in zip(found, SIZES, strict=True):
        assert len(boxes) <= 100
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (scores.diff() <= 0).all()
        assert set(labels.tolist()) <= {1, 2, 3}


@pytest.mark.parametrize(
    ("backbone", "norm", "frozen"),
    [
        ("resnet18", "frozen", ("conv1", "bn1", "layer1")),
        ("resnet18", "trained", ("conv1", "bn1", "layer1")),
        ("vgg16", "trained", ("features.0.", "features.2.", "features.5.", "features.7.")),
    ],
)
def test_frozen_parts_keep_their_bits(params: Params, backbone: str, norm: str, frozen: tuple[str, ...]) -> None:
    model = build(params, {"backbone": backbone, "norm": norm, "freeze_at": 2}).train()
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    losses = losses_of(model, make_batch(), params.train)
    sum(loss.sum() for loss in losses.values()).backward()
    optimizer.step()
    changed = {name for name, tensor in model.backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not {name for name in changed if name.startswith(frozen)}
    if norm == "frozen":
        assert not {name for name in changed if "running" in name or "bn" in name}


def test_padding_of_the_rois_does_not_enter_the_batch_norm(params: Params) -> None:
    batch = make_batch(topk=10)
    seen = []
    for size in (64, 4000):  # far more than there are RoIs
        model = build(params).train()
        model.head.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
        losses_of(model, batch, change(params.train, {"roi.batch_size": size, "rpn.post_nms_topk": 10}))
    assert seen[0] == seen[1] <= 2 * 11


@pytest.mark.parametrize("norm", ["frozen", "trained"])
def test_rois_give_the_same_bits_with_and_without_padding(params: Params, norm: str) -> None:
    model, outcomes = build(params, {"norm": norm}), []
    images = image_inputs(pad_images(pictures(SIZES[:1])), SIZES[:1], model.config)
    rois, real = (
        torch.tensor([[[4.0, 4, 40, 50], [0, 0, 64, 64], [20, 10, 90, 60]]]),
        torch.tensor([[True, True, False]]),
    )
    for count in (2, 3):
        model.zero_grad()
        maps = torch.rand(1, model.backbone.out_channels, 4, 6, generator=torch.Generator().manual_seed(0))
        maps.requires_grad_()
        outputs = model._classify([maps], images, rois[:, :count], real[:, :count])
        sum(output[:, :2].square().sum() for output in outputs).backward()
        gradients = [parameter.grad for parameter in model.head.parameters()]
        outcomes.append([*(output[:, :2] for output in outputs), maps.grad, *gradients])
    assert all(torch.equal(left, right) for left, right in zip(*outcomes, strict=True))


def test_dropout_is_where_it_is_asked_for(params: Params) -> None:
    model = build(params, {"backbone": "vgg16", "dropout": 0.4})
    assert [layer.p for layer in model.head.modules() if isinstance(layer, torch.nn.Dropout)] == [0.4, 0.4]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("roi_op", ["align", "pool"])
def test_half_precision_losses_are_close_and_in_float32(params: Params, roi_op: str, precision: torch.dtype) -> None:
    model, batch = build(params, {"roi_pool.op": roi_op}).eval(), make_batch()
    torch.manual_seed(1)
    full = losses_of(model, batch, params.train)
    torch.manual_seed(1)
    half = losses_of(model, batch, params.train, precision)
    for name in LOSSES:
        assert half[name].dtype == torch.float32
        torch.testing.assert_close(half[name], full[name], atol=0.05, rtol=0.1)


def missing(found: Detections, wanted: Detections, pixels: float, score: float) -> int:
    """Return how many detections have no equal, up to some pixels and a difference in score, among those found."""
    count = 0
    for box, own_score, label in zip(wanted.boxes, wanted.scores, wanted.labels, strict=True):
        near = (np.abs(found.boxes - box).max(1) < pixels) & (np.abs(found.scores - own_score) < score)
        count += not (near & (found.labels == label)).any()
    return count


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16"])
def test_fp16_detects_what_float32_does(params: Params, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = TorchDetector(slim_detector(params, backbone, monkeypatch), torch.device("cpu"))
    settings = Detect(score_threshold=0.3, post_nms_topk=30)
    [full], [half] = (detector.detect([picture(120, 160, 1)], settings, each) for each in ("float32", "fp16"))
    assert len(full) > 3
    assert half.boxes.dtype == half.scores.dtype == np.float32
    assert missing(half, full, 1, 0.01) <= 0.1 * len(full)  # a rounding may decide what NMS keeps
