"""What an image's neighbors in a batch, and the padding that they bring, change for it: nothing, and this much."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from frcnn.backbones import STRIDE
from frcnn.detector.batch import Batch
from frcnn.detector.config import LOSSES
from frcnn.params import Detect, Model, Params
from frcnn.pytorch import faster_rcnn
from frcnn.pytorch.backbones.vgg import VGGBackbone, VGGHead
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import image_inputs
from frcnn.training.batches import Source, collate
from tests.factories import build, change, grid_of, losses_of, make_sample

SIZE = (90, 75)  # of the image that is looked at; no multiple of 16, so that its last cells are partly padding
OBJECTS = [(10, 8, 50, 44), (30, 25, 85, 70)]
# Radius of the receptive field of a cell, in pixels: the stride-16 layers reach so far to each side.
RADIUS = {"resnet18": 105, "resnet50": 133, "vgg16": 98}
TOPK = 60  # proposals in training
DETECT = Detect(score_threshold=0.0, pre_nms_topk=200, post_nms_topk=30)


def slim_vgg(model: Model) -> tuple[VGGBackbone, VGGHead]:
    """Return VGG-16 with an eighth of its channels: the same strides, rounding and receptive field."""
    layers = make_layers([layer if layer == "M" else layer // 8 for layer in cfgs["D"]])
    backbone = VGGBackbone(layers, model.freeze_at)
    backbone.out_channels = 64
    classifier = nn.Sequential(nn.Linear(64 * 49, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU())
    head = VGGHead(classifier, model.dropout)
    head.out_channels = 32
    return backbone, head


@pytest.fixture(params=["resnet18", "resnet50", "vgg16"])
def model(request: pytest.FixtureRequest, params: Params, monkeypatch: pytest.MonkeyPatch) -> FasterRCNN:
    """A slim detector in float64, seeded, in training mode; its norms are frozen."""
    monkeypatch.setitem(faster_rcnn.BUILD, "vgg", slim_vgg)
    return build(params, {"backbone": request.param, "norm": "frozen"}).double().train()


def with_topk(params: Params) -> Params:
    return change(params, {"train.rpn.post_nms_topk": TOPK})


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


# What stands beside the image: all make a padded size of 128 x 120 pixels.
NEIGHBORS = {
    "noise with three objects": (noise(128, 120, 1), [(5, 5, 40, 40), (60, 30, 120, 100), (3, 70, 50, 115)]),
    "noise without objects": (noise(128, 120, 2), []),
    "white": (np.full((120, 128, 3), 255, np.uint8), [(5, 5, 40, 40)]),
}


def one_of(batch: Batch, i: int) -> Batch:
    """Return image i alone, padded as in the batch."""
    rows = {name: value[i : i + 1] for name, value in vars(batch).items()}
    return Batch(**rows)


def outcome(model: FasterRCNN, batch: Batch, params: Params, monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Return, for each image, its four losses, its proposals in training and in detection, and its detections."""
    proposals: list[tuple[Tensor, Tensor]] = []
    generate = faster_rcnn.generate_proposals
    with monkeypatch.context() as patch:
        patch.setattr(
            faster_rcnn, "generate_proposals", lambda *a, **k: proposals.append(generate(*a, **k)) or proposals[-1]
        )
        losses = losses_of(model, batch, change(params.train, {"roi.batch_size": 16, "rpn.post_nms_topk": TOPK}))
        found = model.detect(image_inputs(batch.images, batch.sizes, model.config), DETECT)
    return [
        [*(losses[name][i] for name in LOSSES), *(boxes[i, real[i]] for boxes, real in proposals), *found[i]]
        for i in range(len(batch.sizes))
    ]


@pytest.mark.parametrize("place", [0, 1])
def test_no_neighbor_matters(model: FasterRCNN, params: Params, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, proposals and detections of an image in a batch are those of it alone at the same padded size."""
    params = with_topk(params.model_copy(update={"model": model.config.model}))
    backbone, source = model.config.model.backbone, Source(None, [], params)
    watched = make_sample(params, backbone, noise(*SIZE, 0), OBJECTS, seed=0)
    alone: list[Tensor] = []
    for image, objects in NEIGHBORS.values():
        samples = [watched, make_sample(params, backbone, image, objects, seed=1)]
        batch = collate(samples[::-1] if place else samples, source)
        assert batch.images.shape[1:3] == (120, 128)
        alone = alone or outcome(model, one_of(batch, place), params, monkeypatch)[0]
        together = outcome(model, batch, params, monkeypatch)[place]
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert all(loss > 0 for loss in alone[:4])
    assert all(len(tensor) > 5 for tensor in alone[4:])


class Patches(nn.Module):
    """Each cell of the map sees its own 16 x 16 pixels only; padding, which is 0, remains 0."""

    out_channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, kernel_size=STRIDE, stride=STRIDE, bias=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[2:]
        return [self.conv(nn.functional.pad(images, (0, -width % STRIDE, 0, -height % STRIDE)))]


class Flat(nn.Sequential):
    """Vectors of 7 x 7 features."""

    out_channels = 64

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU())


@pytest.mark.parametrize("place", [0, 1])
def test_padding_matters_only_through_the_convolutions(
    params: Params, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a backbone that does not look beyond its cell, an image finds in a batch what it finds unpadded."""
    monkeypatch.setitem(faster_rcnn.BUILD, "resnet", lambda model: (Patches(), Flat()))
    model = build(params, {"backbone": "resnet18"}).double().train()
    params = with_topk(params)
    source = Source(None, [], params)
    watched = make_sample(params, "resnet18", noise(*SIZE, 0), OBJECTS, seed=0)
    alone = outcome(model, collate([watched], source), params, monkeypatch)[0]
    for image, objects in NEIGHBORS.values():
        samples = [watched, make_sample(params, "resnet18", image, objects, seed=1)]
        batch = collate(samples[::-1] if place else samples, source)
        together = outcome(model, batch, params, monkeypatch)[place]
        for found, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert all(loss > 0 for loss in alone[:4])
    assert all(len(tensor) > 5 for tensor in alone[4:])


@pytest.mark.parametrize("size", [(90, 75), (16, 16), (160, 96), (257, 131)])
def test_a_batch_of_one_is_not_padded(params: Params, size: tuple[int, int]) -> None:
    sample = make_sample(params, params.model.backbone, noise(*size, 0), [(1, 1, 15, 15)], seed=0)
    batch = collate([sample], Source(None, [], with_topk(params)))
    assert batch.sizes == [size]
    assert batch.images.shape == (1, size[1], size[0], 3)
    assert np.array_equal(batch.images[0], sample.image)
    assert np.array_equal(batch.anchor_index[0], sample.anchor_index)


@torch.no_grad()
def test_padding_changes_nothing_beyond_the_receptive_field(model: FasterRCNN) -> None:
    """Features further from the padding than the receptive field reaches stay what they are; nearer ones do not."""
    backbone = model.config.model.backbone
    width, height = 320, 288
    for name, parameter in model.backbone.named_parameters():
        if name.endswith("bias"):  # without biases the padding of a VGG stays 0 in every layer
            parameter += 0.1
    picture = torch.rand(1, 3, height, width, dtype=torch.float64)
    rows, columns = grid_of((width, height), backbone)
    [alone] = model.backbone(picture)
    padded = model.backbone(nn.functional.pad(picture, (0, 64, 0, 64)))[0][:, :, :rows, :columns]
    # A cell's field is centered at most half a stride right of its left edge and below its upper one.
    x, y = torch.arange(columns) * STRIDE + 8 + RADIUS[backbone], torch.arange(rows) * STRIDE + 8 + RADIUS[backbone]
    far = (y < height)[:, None] & (x < width)[None]
    assert far.sum() >= 20
    difference = (padded - alone).abs().amax((0, 1)) / alone.abs().max()
    assert difference[far].max() < 1e-12
    assert difference[-1].min() > 1e-6
    assert difference[:, -1].min() > 1e-6
