"""What is exported, run by torch itself: it has to be the network's own result."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from frcnn.data.resizing.resample import resize
from frcnn.data.resizing.sizes import box_scale, resized_size
from frcnn.detections.detections import Detections
from frcnn.errors import UserError
from frcnn.onnx.exporting import compare
from frcnn.onnx.network import ExportedDetector, Operators
from frcnn.onnx.operators import first_best, nms_mask, torchvision_nms_mask
from frcnn.onnx.resize_graph import Resize
from frcnn.params import Data, Params
from frcnn.params.training import Postprocessing
from frcnn.pytorch import faster_rcnn
from frcnn.pytorch.inference import TorchDetector
from tests.factories import change
from tests.frcnn.onnx.slim import picture, slim_detector

TORCH = Operators(torchvision_nms_mask, first_best)
OWN = Operators(nms_mask, first_best)
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "vgg16, pool": ("vgg16", {"model.roi_pool.op": "pool"}),
    "vgg16, crop, padded": ("vgg16", {"model.roi_pool.op": "crop", "data.size_divisor": 32}),
    "resnet18": ("resnet18", {}),
    "resnet18, another project": (
        "resnet18",
        {
            "anchors.strides": "from_map", "anchors.rounded": True, "model.proposals.exclude_edge": True,
            "model.proposals.score_threshold": 0.5, "data.box_convention": "reference", "detect.count_empty": True,
            "detect.max_detections": None, "model.roi_pool.sampling_ratio": 0,
        },
    ),
    "mobilenet-v3-fpn": ("mobilenet-v3-fpn", {}),
    "mobilenet-v3-fpn, padded": (
        "mobilenet-v3-fpn", {"data.size_divisor": 32, "model.proposals.mask_padding": False}
    ),
    "mobilenet-v3-fpn, own grid": ("mobilenet-v3-fpn", {"data.size_divisor": 64, "detect.pre_nms_topk": 20}),
}  # fmt: skip


@pytest.mark.parametrize("operators", [TORCH, OWN], ids=["torchvision", "own"])
@pytest.mark.parametrize("case", CASES)
def test_the_function_finds_what_the_network_finds(
    case: str, operators: Operators, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, values = CASES[case]
    params = change(params, values)
    model = slim_detector(params, backbone, monkeypatch)
    pictures = [picture(117, 150, seed) for seed in (1, 2)]
    wanted = TorchDetector(model, torch.device("cpu")).detect(pictures, params.detect)
    with torch.no_grad():
        outputs = ExportedDetector(model, params.detect, operators)(torch.from_numpy(np.stack(pictures)))
    for number, own in enumerate(wanted):
        count = int(outputs[3][number])
        found = Detections(*(each[number, :count].numpy() for each in outputs[:3]))
        assert len(own) == count > 0
        assert not outputs[1][number, count:].any()
        np.testing.assert_array_equal(found.labels, own.labels)
        np.testing.assert_allclose(found.boxes, own.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, own.scores, atol=5e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(4, 90), st.integers(4, 90), st.integers(20, 120), st.sampled_from([None, 130]), st.booleans(),
    st.sampled_from(["nearest", "down"]), st.sampled_from(["voc", "reference"]),
)  # fmt: skip
def test_a_picture_is_resized_as_in_training(
    width: int, height: int, least: int, most: int | None, antialias: bool, rounding: Any, convention: Any
) -> None:
    data = Data(
        min_size=least, max_size=most, antialias=antialias, rounding=rounding, box_convention=convention
    )  # fmt: skip
    if max(resized_size((width, height), data)) > 2000:
        return
    image = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    resized, scale, limit = Resize(data)(torch.from_numpy(image)[None])
    wanted = resize(image, *resized_size((width, height), data), data.interpolation, data.antialias)
    assert resized.shape[1:] == wanted.shape
    assert np.abs(resized[0].numpy().astype(int) - wanted).max() <= 1  # a sum may round the other way
    assert (resized[0].numpy() != wanted).mean() < 0.02  # of few pixels, enlarged, one makes many
    np.testing.assert_allclose(scale.numpy(), box_scale((width, height), data), rtol=1e-6)
    assert limit.tolist() == [width, height, width, height]


def test_bicubic_resizing_without_antialias_is_refused() -> None:
    with pytest.raises(UserError, match="--resize outside"):
        Resize(Data(interpolation="bicubic", antialias=False))


def test_nms_of_two_sets_by_hand() -> None:
    """In the first set the second box overlaps the first by 8/12; in the other the better one is the second."""
    boxes = torch.tensor([[[0, 0, 10, 1], [2, 0, 12, 1], [50, 0, 60, 1]]] * 2).float()
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.2, 0.3, -torch.inf]])
    for function in (nms_mask, torchvision_nms_mask):
        assert function(boxes, scores, 0.5, 3).tolist() == [[True, False, True], [False, True, False]]
        assert function(boxes, scores, 0.7, 3).tolist() == [[True, True, True], [True, True, False]]


def test_how_far_two_results_are_apart() -> None:
    def found(shift: float, scores: list[float], labels: list[int]) -> Detections:
        boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)[: len(scores)] + np.float32(shift)
        return Detections(boxes, np.array(scores, np.float32), np.array(labels))

    own, near = found(0, [0.9, 0.8], [1, 2]), found(0.25, [0.9, 0.8], [1, 2])
    assert compare(near, own, Postprocessing()) == (0.25, 0, 2)
    assert compare(found(0, [0.9, 0.7], [1, 2]), own, Postprocessing()).score == pytest.approx(0.1)
    assert compare(found(0, [0.9, 0.8], [1, 1]), own, Postprocessing()).score == np.inf
    assert compare(found(0, [0.9], [1]), own, Postprocessing()).score == np.inf
    assert compare(found(0, [], []), own, Postprocessing()).box == np.inf
    close = found(0, [0.9, 0.05005], [1, 2])  # the other side may have dropped it
    assert compare(found(0, [0.9], [1]), close, Postprocessing()) == (0, 0, 1)


def test_slim_vgg_is_what_is_built(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    model = slim_detector(params, "vgg16", monkeypatch)
    assert sum(each.numel() for each in model.parameters()) < 10**6
    assert isinstance(model.backbone.features, nn.Sequential)
    assert faster_rcnn.BUILD["vgg"].__name__ == "slim_vgg"


class Suppress(nn.Module):
    """NMS of an archive."""

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return torchvision_nms_mask(boxes, scores, 0.5, 9)


@pytest.mark.parametrize("real", [0, 1, 2, 40])
def test_an_archive_suppresses_any_number_of_boxes(real: int) -> None:
    """torch.export makes its program for two or more of what `nonzero` finds."""
    random = torch.Generator().manual_seed(real)
    corner = 50 * torch.rand(3, 20, 2, generator=random)
    boxes = torch.cat([corner, corner + 30 * torch.rand(3, 20, 2, generator=random)], -1)
    scores = torch.full((60,), -torch.inf)
    scores[torch.randperm(60, generator=random)[:real]] = torch.rand(real, generator=random)
    example = boxes.roll(1, 0), torch.rand(3, 20, generator=random)
    program = torch.export.export(Suppress(), example, strict=False).module()
    kept = program(boxes, scores.view(3, 20))
    assert int(kept.sum()) <= real and bool(kept.any()) == bool(real)
    assert torch.equal(kept, nms_mask(boxes, scores.view(3, 20), 0.5, 20))


class Pool(nn.Module):
    """RoI pooling of a detector with several maps."""

    def __init__(self, detector: ExportedDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        return self.detector._pool([fine, coarse], rois, (320, 320))


def test_an_archive_pools_on_maps_that_no_box_needs(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    model = slim_detector(params, "mobilenet-v3-fpn", monkeypatch)
    pool = Pool(ExportedDetector(model, params.detect, TORCH))
    maps = [torch.randn(1, 8, *cells) for cells in ((10, 10), (10, 10))]
    small, large = torch.tensor([[9.0, 9, 60, 60]]), torch.tensor([[0.0, 0, 319, 319]])
    program = torch.export.export(pool, (*maps, torch.cat([small] * 3 + [large] * 3)[None]), strict=False).module()
    for rois in ([small] * 6, [small] * 5 + [large], [large] * 6):
        torch.testing.assert_close(program(*maps, torch.cat(rois)[None]), pool(*maps, torch.cat(rois)[None]))
