"""Networks with a feature pyramid: levels and pooling as torchvision's, training, independence of the batch, files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign, roi_align
from torchvision.ops.poolers import LevelMapper

from frcnn.backbones import BACKBONES
from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.params import Detect, Params, RoIPool, load_params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector, load_detector
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.pytorch.roi_levels import assign_levels, pool_levels
from frcnn.pytorch.weights import arrays_of, load_pretrained
from frcnn.training.batches import Source, collate
from tests.factories import change, losses_of, make_sample

PYRAMIDS = [name for name, backbone in BACKBONES.items() if backbone.family == "pyramid"]
CPU = torch.device("cpu")


def parameters(backbone: str, *more: str) -> Params:
    sizes = "[16,32,64]" if backbone.startswith("mobilenet") else "[[8],[16],[32],[64],[128]]"
    scratch = ("model.weights=none", "model.norm=trained", "model.freeze_at=0", "anchors.rpn_straddle_thresh=null")
    small = ("train.rpn.pre_nms_topk=100", "train.rpn.post_nms_topk=50", "train.roi.batch_size=32")
    texts = (f"model.backbone={backbone}", f"anchors.anchor_sizes={sizes}", "model.proposals.min_size=0")
    return load_params(Path("default"), (*scratch, *small, *texts, *more))


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 2), (12, 10)])
@pytest.mark.parametrize("aligned", [False, True])
def test_one_map_of_any_shape(shape: tuple[int, int], aligned: bool) -> None:
    torch.manual_seed(1)
    features = torch.randn(1, 4, *shape, dtype=torch.float64)
    corners = torch.rand(50, 2, 2, dtype=torch.float64) * 14 * 16 - 32
    rois = torch.cat([corners.amin(1), corners.amax(1)], 1)
    settings = RoIPool(aligned=aligned)
    found = pool_levels([features], [[shape]], (16,), rois[None], torch.ones(1, 50, dtype=torch.bool), settings)
    wanted = roi_align(features, [rois], 7, 1 / 16, 2, aligned)
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


def test_levels_are_torchvisions() -> None:
    sides = torch.linspace(1, 900, 500)
    rois = torch.stack([0 * sides, 0 * sides, sides, 1.3 * sides], 1)
    for strides in ((4, 8, 16, 32), (32, 32)):
        low, high = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
        torch.testing.assert_close(assign_levels(rois, strides), LevelMapper(low, high)([rois]))


@pytest.mark.parametrize("ratio", [0, 1, 2])
def test_pooling_is_torchvisions(ratio: int) -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, 256 // stride, 320 // stride, requires_grad=True) for stride in (4, 8, 16, 32)]
    corners = torch.rand(2, 40, 2, 2) * torch.tensor([340.0, 280.0]) - 20  # some beyond the image
    rois = torch.cat([corners.amin(2), corners.amax(2) + 1], -1)
    real = torch.rand(2, 40) < 0.7
    pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, ratio)
    wanted = pool({str(i): each for i, each in enumerate(maps)}, [rois[i][real[i]] for i in (0, 1)], [(256, 320)] * 2)
    settings = RoIPool(sampling_ratio=ratio, aligned=False)
    grids = [[tuple(each.shape[-2:]) for each in maps]] * 2
    found = pool_levels(maps, grids, (4, 8, 16, 32), rois, real, settings)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    weights = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((pooled * weights).sum(), maps) for pooled in (found, wanted)]
    for own, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-4)
    none = pool_levels(maps, grids, (4, 8, 16, 32), rois, torch.zeros_like(real), settings)
    assert none.shape == (0, 3, 7, 7)


def test_pooling_in_float16_is_near() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(1, 3, 64, 80, dtype=torch.float16, requires_grad=True)]
    corners = torch.rand(1, 40, 2, 2) * torch.tensor([320.0, 256.0])
    rois = torch.cat([corners.amin(2), corners.amax(2) + 1], -1)
    real = torch.ones(1, 40, dtype=torch.bool)
    weights = torch.randn(40, 3, 7, 7)
    found, wanted = [], []
    for each, outcome in ((maps, found), ([maps[0].float()], wanted)):
        pooled = pool_levels(each, [[(64, 80)]], (4,), rois, real, RoIPool())
        outcome += [pooled.float(), torch.autograd.grad((pooled * weights).sum(), maps)[0].float()]
    for half, full in zip(found, wanted, strict=True):
        assert (half - full).norm() < 2e-3 * full.norm()


@pytest.mark.parametrize("backbone", PYRAMIDS)
def test_two_steps_and_the_file(backbone: str, tmp_path: Path) -> None:
    params = parameters(backbone, "train.optimizer.clip_gradients=global_norm")
    torch.manual_seed(0)
    model = FasterRCNN(detector_config(["a", "b"], params)).train()
    optimizer = build_optimizer(model, params.train.optimizer)
    set_learning_rate(optimizer, 1e-3)
    samples = [
        make_sample(params, backbone, noise(130, 100, 0), [(10, 10, 40, 50), (50, 20, 120, 90)], seed=0),
        make_sample(params, backbone, noise(96, 120, 1), [(30, 30, 45, 40)], seed=1),
    ]
    for _ in range(2):
        losses = losses_of(model, collate(samples, Source(None, [], params)), params.train)
        assert all((loss > 0).all() for name, loss in losses.items() if name != "loss_roi_box")
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum(0).mean().backward()
        optimizer.step()
    without = [name for name, each in model.named_parameters() if each.grad is None or not each.grad.any()]
    assert without == []

    write_weights(tmp_path / "w.safetensors", model.config, arrays_of(model), {})
    settings = Detect(score_threshold=0.0, post_nms_topk=30)
    pictures = [noise(130, 100, 2), noise(90, 64, 3)]
    wanted = TorchDetector(model.eval(), CPU).detect(pictures, settings)
    loaded = load_detector(tmp_path / "w.safetensors", "cpu")
    loaded.model.to(memory_format=torch.contiguous_format)
    for found, expected in zip(loaded.detect(pictures, settings), wanted, strict=True):
        assert len(found) > 10
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize("backbone", ["resnet50-fpn", "mobilenet-v3-fpn"])
def test_no_neighbor_matters(backbone: str) -> None:
    """Losses of an image do not depend on what else is in the batch, at the same padded size."""
    params = parameters(backbone)
    torch.manual_seed(0)
    model = FasterRCNN(detector_config(["a", "b"], params)).double().eval()
    watched = make_sample(params, backbone, noise(100, 90, 0), [(10, 10, 60, 70)], seed=0)
    outcomes = []
    for seed, objects in ((1, [(5, 5, 30, 30)]), (2, [(50, 60, 120, 120), (1, 1, 20, 20)])):
        other = make_sample(params, backbone, noise(128, 128, seed), objects, seed=seed)
        losses = losses_of(model, collate([watched, other], Source(None, [], params)), params.train)
        outcomes.append(torch.stack([loss[0] for loss in losses.values()]))
    torch.testing.assert_close(*outcomes, atol=1e-9, rtol=1e-9)
    assert (outcomes[0] > 0).all()


@pytest.mark.parametrize(
    ("backbone", "freeze_at", "first"),
    [
        ("resnet50-fpn", 2, "layer2.0.conv1.weight"),
        ("resnet50-fpn-v2", 5, None),
        ("mobilenet-v3-fpn", 3, "7.block.0.0.weight"),
        ("mobilenet-v3-320-fpn", 6, None),
    ],
)
def test_the_first_stages_are_frozen(backbone: str, freeze_at: int, first: str | None) -> None:
    params = parameters(backbone)
    model = FasterRCNN(
        detector_config(["a"], change(params, {"model.freeze_at": freeze_at, "model.norm": "frozen"}))
    ).train()
    trained = [name for name, parameter in model.backbone.body.named_parameters() if parameter.requires_grad]
    assert (trained[0] if trained else None) == first
    assert all(parameter.requires_grad for parameter in model.backbone.fpn.parameters())


@pytest.mark.parametrize("backbone", ["resnet50-fpn", "mobilenet-v3-fpn"])
def test_classification_weights_go_into_the_body(backbone: str) -> None:
    from torchvision.models import mobilenet_v3_large, resnet50

    torch.manual_seed(1)
    network = resnet50() if backbone == "resnet50-fpn" else mobilenet_v3_large()
    unused = ("fc.", "num_batches_tracked")
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items() if not name.endswith(unused)}
    state = {name: array for name, array in state.items() if not name.startswith("fc.")}
    model = FasterRCNN(detector_config(["a"], parameters(backbone)))
    load_pretrained(model, state, "file")
    own = {f"{'features.' if 'mobile' in backbone else ''}{name}": tensor for name, tensor in
           model.backbone.body.state_dict().items()}  # fmt: skip
    taken = [name for name in own if not name.endswith("num_batches_tracked")]
    assert len(taken) > 100
    for name in taken:
        np.testing.assert_array_equal(own[name].numpy(), state[name])
    del state[taken[0]]
    with pytest.raises(UserError, match="file: does not fit the model, nothing was loaded: missing"):
        load_pretrained(model, state, "file")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("anchors.anchor_sizes=[[8],[16]]", "anchors.anchor_sizes has 2 lists; resnet50-fpn has 5 feature maps"),
        ("anchors.anchor_sizes=[[8],[16],[32],[64],[1,2]]", "the lists differ in length"),
        ("train.framework=tensorflow", "train.framework: tensorflow has no feature pyramids"),
        ("detect.framework=tensorflow", "detect.framework: tensorflow has no feature pyramids"),
        ("model.roi_pool.op=pool", "resnet50-fpn has model.roi_pool.op: align, not pool"),
        ("model.width=32", "resnet50-fpn has model.roi_pool.size: 7 and model.width: 64, fixed by its layers"),
        ("model.freeze_at=6", "resnet50-fpn has 5 stages to freeze"),
    ],
)
def test_what_does_not_fit_a_pyramid(override: str, message: str) -> None:
    texts = ("model.norm=frozen", "model.weights=imagenet", override)
    with pytest.raises(UserError) as error:
        parameters("resnet50-fpn", *texts)
    assert any(message in line for line in error.value.args)


def test_lists_for_maps_need_maps() -> None:
    with pytest.raises(UserError, match="anchors.anchor_sizes has 2 lists; vgg16 has 1 feature map"):
        load_params(Path("default"), ["anchors.anchor_sizes=[[8],[16]]"])
