"""Gradients: those of the formulas, none where there must be none; what is frozen keeps its bits."""

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torchvision.models.vgg import cfgs, make_layers

from frcnn import boxes
from frcnn.anchors.label import label_image
from frcnn.detector.batch import Batch
from frcnn.params import Model, Params
from frcnn.params.training import Train
from frcnn.pytorch import faster_rcnn
from frcnn.pytorch.backbones.resnet import build_resnet
from frcnn.pytorch.backbones.vgg import VGGBackbone, build_vgg
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.pytorch.roi_heads import roi_losses
from frcnn.pytorch.roi_pool import roi_align
from frcnn.pytorch.rpn import rpn_losses
from frcnn.training.batches import Sample, Source, collate
from frcnn.training.minibatch import sample_anchors
from tests.factories import build, change, losses_of

OBJECTS = [[(12, 10, 60, 52)], [(4, 30, 40, 88), (30, 8, 78, 40)]]
TOPK = 30  # proposals in training
SIZES = [(96, 72), (80, 104)]
RPN, ROI = ("loss_rpn_cls", "loss_rpn_box"), ("loss_roi_cls", "loss_roi_box")
# Anchors 4 and 1 in the first image, 0, 5 and 2 in the second; -1 is padding. Some distances lie beyond the quadratic.
INDEX = torch.tensor([[4, 1, 0, 0], [0, 5, 2, 0]])
ANCHOR_LABELS = torch.tensor([[1, 0, -1, -1], [1, 1, 0, -1]])
ROI_LABELS = torch.tensor([[2, 0, 1, -1, -1], [0, 3, 0, 0, -1]])


def normal(*shape: int, seed: int = 0, grad: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


@pytest.fixture
def train(params: Params) -> Train:
    """All candidates are taken, so that no sampling of RoIs enters."""
    return change(params.train, {"roi.batch_size": 300, "rpn.post_nms_topk": TOPK})


def make_batch(params: Params) -> Batch:
    """Return a batch of two images, labeled and sampled as in training."""
    rng = np.random.default_rng(0)
    samples = []
    for i, (size, objects) in enumerate(zip(SIZES, OBJECTS, strict=True)):
        labels = label_image(np.array(objects, np.float32), size, params.model.backbone, params.anchors)
        assert len(labels.positive_index)
        image = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        classes = np.arange(1, 1 + len(objects))
        priorities = rng.random(TOPK + len(objects), np.float32)
        anchors = sample_anchors(labels, params.train.rpn, rng)
        samples.append(Sample(str(i), image, labels.gt_boxes, classes, *anchors, priorities))
    return collate(samples, Source(None, [], change(params, {"train.rpn.post_nms_topk": TOPK})))


def backward(model: FasterRCNN, batch: Batch, train: Train, names: Iterable[str]) -> None:
    losses = losses_of(model, batch, train)
    assert all((losses[name] > 0).all() for name in names)
    sum(losses[name].sum() for name in names).backward()


def has_gradient(module: nn.Module) -> list[bool]:
    """Tell, for every parameter that is trained, whether any gradient came."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [parameter.grad is not None and bool(parameter.grad.any()) for parameter in trained]


def step(model: FasterRCNN, batch: Batch, train: Train, steps: int = 3, rate: float = 1e-4) -> None:
    optimizer = build_optimizer(model, train.optimizer)
    set_learning_rate(optimizer, rate)
    for _ in range(steps):
        sum(loss.sum() for loss in losses_of(model, batch, train).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


# ---- losses


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_rpn_losses_and_their_gradients_agree(sigma: float) -> None:
    target = normal(2, 4, 4, seed=2, grad=False)

    def losses(logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        return rpn_losses(logits, deltas, INDEX, ANCHOR_LABELS, target, sigma)

    assert gradcheck(losses, (normal(2, 6), normal(2, 6, 4, seed=1)))


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_roi_losses_and_their_gradients_agree(sigma: float) -> None:
    target = normal(2, 5, 4, seed=2, grad=False)

    def losses(class_logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        return roi_losses(class_logits, deltas, ROI_LABELS, target, sigma)

    assert gradcheck(losses, (normal(2, 5, 4), normal(2, 5, 3, 4, seed=1)))


def test_rpn_gradient_is_the_formulas() -> None:
    """(sigmoid - label) / n for every sampled logit, clipped distances / n for the positives, 0 for the rest."""
    logits, deltas, target = normal(2, 6), normal(2, 6, 4, seed=1), normal(2, 4, 4, seed=2, grad=False)
    cls, box = rpn_losses(logits, deltas, INDEX, ANCHOR_LABELS, target, sigma=3)
    (cls.sum() + box.sum()).backward()
    expected_logits, expected_deltas = torch.zeros_like(logits), torch.zeros_like(deltas)
    for image, count in enumerate((2, 3)):
        for place, anchor in enumerate(INDEX[image, :count]):
            label = ANCHOR_LABELS[image, place]
            expected_logits[image, anchor] = (logits[image, anchor].sigmoid() - label) / count
            if label == 1:
                distance = deltas[image, anchor] - target[image, place]
                expected_deltas[image, anchor] = (9 * distance).clamp(-1, 1) / count
    torch.testing.assert_close(logits.grad, expected_logits.detach())
    torch.testing.assert_close(deltas.grad, expected_deltas.detach())


def test_roi_gradient_is_the_formulas() -> None:
    """(softmax - one-hot) / n for every sampled RoI, clipped distances / n in the true class's slot of positives."""
    logits, deltas, target = normal(2, 5, 4), normal(2, 5, 3, 4, seed=1), normal(2, 5, 4, seed=2, grad=False)
    cls, box = roi_losses(logits, deltas, ROI_LABELS, target, sigma=1)
    (cls.sum() + box.sum()).backward()
    expected_logits, expected_deltas = torch.zeros_like(logits), torch.zeros_like(deltas)
    for image, count in enumerate((3, 4)):
        for place, label in enumerate(ROI_LABELS[image, :count]):
            one_hot = torch.eye(4, dtype=torch.float64)[label]
            expected_logits[image, place] = (logits[image, place].softmax(0) - one_hot) / count
            if label > 0:
                distance = deltas[image, place, label - 1] - target[image, place]
                expected_deltas[image, place, label - 1] = distance.clamp(-1, 1) / count
    torch.testing.assert_close(logits.grad, expected_logits.detach())
    torch.testing.assert_close(deltas.grad, expected_deltas.detach())


# ---- boxes and RoIAlign


def some_boxes(count: int, seed: int) -> Tensor:
    low, size = normal(count, 2, seed=seed, grad=False), normal(count, 2, seed=seed + 1, grad=False).abs() + 0.5
    return torch.cat([low, low + size], 1).requires_grad_()


def test_encode_has_its_gradient() -> None:
    assert gradcheck(boxes.encode, (some_boxes(5, 0), some_boxes(5, 2)))


@pytest.mark.parametrize("clamp", [True, False])
def test_decode_has_its_gradient(clamp: bool) -> None:
    assert gradcheck(
        lambda deltas, references: boxes.decode(deltas, references, clamp), (normal(5, 4), some_boxes(5, 2))
    )


def test_decode_beyond_the_clamp_moves_but_does_not_grow() -> None:
    deltas = torch.tensor([[0.1, 0.2, 4.5, 5.0]], dtype=torch.float64, requires_grad=True)  # the limit is 4.14
    references = some_boxes(1, 0).detach()
    assert gradcheck(lambda deltas: boxes.decode(deltas, references, True), deltas)
    boxes.decode(deltas, references, True)[0, 2:].sum().backward()
    assert deltas.grad[0, 2:].tolist() == [0, 0]
    assert (deltas.grad[0, :2] > 0).all()


def test_roi_align_has_its_gradient() -> None:
    features, cells = normal(1, 2, 5, 6), torch.tensor([[[6.0, 5]]], dtype=torch.float64)
    inside = torch.tensor([[[0.3, 0.2, 4.4, 3.1], [2.15, 1.3, 5.9, 4.85], [0.6, 3.3, 1.1, 4.7]]], dtype=torch.float64)
    inputs = (features, inside.requires_grad_())
    assert gradcheck(lambda features, rois: roi_align(features, cells, rois, 2, 2), inputs)


# ---- the whole network


@pytest.mark.parametrize("roi_op", ["align", "pool"])
@pytest.mark.parametrize("norm", ["frozen", "trained"])
def test_roi_losses_reach_head_and_backbone_but_not_the_rpn(
    params: Params, train: Train, norm: str, roi_op: str
) -> None:
    model = build(params, {"norm": norm, "roi_pool.op": roi_op}).double()
    backward(model, make_batch(params), train, ROI)
    assert not any(has_gradient(model.rpn))
    for module in (model.predictor, model.head, model.backbone):
        assert all(has_gradient(module))


def test_rpn_losses_reach_the_backbone_but_not_the_head(params: Params, train: Train) -> None:
    model = build(params).double()
    backward(model, make_batch(params), train, RPN)
    assert not any(has_gradient(model.head) + has_gradient(model.predictor))
    assert all(has_gradient(model.rpn) + has_gradient(model.backbone))


@pytest.mark.parametrize("norm", ["frozen", "trained"])
def test_the_whole_gradient_is_the_slope(
    params: Params, train: Train, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Along a random direction the four losses change as their gradients say, once the proposals stay as they are."""
    model, batch = build(params, {"norm": norm}).double(), make_batch(params)
    proposals: list[Tensor] = []
    generate = faster_rcnn.generate_proposals

    def generate_once(*args: object, **options: object) -> list[Tensor]:
        if not proposals:
            proposals.extend(generate(*args, **options))
        return proposals  # boxes, and which are real

    monkeypatch.setattr(faster_rcnn, "generate_proposals", generate_once)

    def losses() -> Tensor:
        return torch.stack([loss.sum() for loss in losses_of(model, batch, train).values()])

    parameters = list(model.parameters())
    direction = [normal(*parameter.shape, seed=i, grad=False) for i, parameter in enumerate(parameters)]
    # As long as the parameter itself, so that no layer's share is lost; biases start at 0.
    direction = [v * (p.detach().norm() + 0.1) / v.norm() for v, p in zip(direction, parameters, strict=True)]
    slopes = []
    for loss in losses():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        slopes.append(sum((g * v).sum() for g, v in zip(gradients, direction, strict=True) if g is not None))

    def moved(distance: float) -> Tensor:
        with torch.no_grad():
            for parameter, v in zip(parameters, direction, strict=True):
                parameter += distance * v
            return losses()

    tiny = 1e-7
    rise = moved(tiny) - moved(-2 * tiny)
    torch.testing.assert_close(rise / (2 * tiny), torch.stack(slopes), rtol=1e-3, atol=1e-6)


# ---- what is frozen


@pytest.mark.parametrize("freeze_at", [1, 2])
@pytest.mark.parametrize("norm", ["frozen", "trained"])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_frozen_parts_of_a_resnet_keep_their_bits_and_all_others_move(
    params: Params, train: Train, backbone: str, norm: str, freeze_at: int
) -> None:
    model = build(params, {"backbone": backbone, "norm": norm, "freeze_at": freeze_at})
    model.eval()
    model.train()  # as after a validation
    before = snapshot(model)
    settings = {"optimizer.name": "sgd", "optimizer.weight_decay": 0.1, "optimizer.bias_weight_decay": 0.1}
    step(model, make_batch(params), change(train, settings))
    stages = ("backbone.conv1.", "backbone.bn1.", "backbone.layer1.")[: 2 if freeze_at == 1 else 3]
    still = {name for name in before if name.startswith(stages)}
    if norm == "frozen":
        norms = {name.removesuffix("running_mean") for name in before if name.endswith("running_mean")}
        still |= {name for name in before if name.startswith(tuple(norms))}
    assert changed(model, before) == set(before) - still


@pytest.mark.parametrize("freeze_at", range(5))
def test_stages_of_a_resnet_that_are_trained(freeze_at: int) -> None:
    with torch.device("meta"):
        backbone, head = build_resnet(Model(backbone="resnet50", norm="trained", freeze_at=freeze_at))
    stages = [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"]]
    trained = {name.split(".")[0] for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {name for stage in stages[freeze_at:] for name in stage}
    assert all(parameter.requires_grad for parameter in head.parameters())


# Published: "the 13 shareable convolutional layers", of which those from conv3_1 on are trained.
@pytest.mark.parametrize(("freeze_at", "first"), [(0, 0), (1, 5), (2, 10), (3, 17), (4, 24), (5, None)])
def test_blocks_of_a_vgg_that_are_trained(freeze_at: int, first: int | None) -> None:
    with torch.device("meta"):
        backbone, head = build_vgg(Model(freeze_at=freeze_at))
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    trained = {int(name.split(".")[1]) for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {layer for layer in convolutions if first is not None and layer >= first}
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_frozen_blocks_of_a_vgg_keep_their_bits_and_all_others_move(train: Train) -> None:
    torch.manual_seed(0)
    backbone = VGGBackbone(make_layers(cfgs["D"]), freeze_at=2).train()
    before = snapshot(backbone)
    optimizer = build_optimizer(backbone, change(train.optimizer, {"name": "sgd"}))
    set_learning_rate(optimizer, 0.1)
    for _ in range(2):
        backbone(torch.rand(1, 3, 32, 32))[0].sum().backward()
        optimizer.step()
    frozen = {f"features.{layer}.{kind}" for layer in (0, 2, 5, 7) for kind in ("weight", "bias")}
    assert changed(backbone, before) == set(before) - frozen


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_biases_without_a_rate_keep_their_bits(params: Params, train: Train, optimizer: str) -> None:
    model = build(params, {"norm": "trained"})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter += 0.01  # a bias of 0 would hide a decay
    before = snapshot(model)
    settings = {"optimizer.name": optimizer, "optimizer.bias_lr_mult": 0.0, "optimizer.bias_weight_decay": 0.1}
    step(model, make_batch(params), change(train, settings))
    names = dict(model.named_parameters())
    weights = {name for name, parameter in names.items() if parameter.ndim > 1}
    assert {name for name in changed(model, before) if name in names} == weights


def test_bias_lr_mult_is_a_factor_of_the_step(params: Params, train: Train) -> None:
    moves = []
    for factor in (1.0, 2.0):
        model = build(params)
        before = snapshot(model)
        decay = {"optimizer.weight_decay": 0.0, "optimizer.bias_weight_decay": 0.0}
        settings = change(train, {"optimizer.name": "sgd", "optimizer.bias_lr_mult": factor} | decay)
        step(model, make_batch(params), settings, steps=1, rate=1e-2)
        after = model.state_dict()
        moves.append({name: after[name] - before[name] for name in ("rpn.conv.weight", "rpn.conv.bias")})
    assert moves[0]["rpn.conv.bias"].any()
    torch.testing.assert_close(moves[1]["rpn.conv.bias"], 2 * moves[0]["rpn.conv.bias"])
    torch.testing.assert_close(moves[1]["rpn.conv.weight"], moves[0]["rpn.conv.weight"])
