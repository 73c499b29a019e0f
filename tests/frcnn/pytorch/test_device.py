"""Which device and precision are chosen; what a GPU computes is what the CPU does."""

import pytest
import torch

from frcnn.detector.config import LOSSES
from frcnn.errors import UserError
from frcnn.params import Detect, Params
from frcnn.pytorch.device import choose_device, choose_precision, layout
from frcnn.pytorch.inference import TorchDetector
from frcnn.pytorch.inputs import batch_inputs
from frcnn.pytorch.learner import TorchLearner
from tests.factories import change
from tests.frcnn.onnx.slim import picture, slim_detector
from tests.frcnn.pytorch.test_faster_rcnn import make_batch, missing

THERE = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
DEVICES = [
    pytest.param(name, marks=pytest.mark.skipif(not there, reason=f"no {name} here")) for name, there in THERE.items()
]


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_is_fp16_on_cuda_without_bf16(
    monkeypatch: pytest.MonkeyPatch, native: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_precision("auto", torch.device("cuda")) == expected
    assert choose_precision("fp16", torch.device("cpu")) == torch.float16


def test_auto_is_never_fp16_elsewhere() -> None:
    assert choose_precision("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)
    assert choose_precision("auto", torch.device("mps")) == torch.float32


def test_auto_takes_cuda_then_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert [choose_device(name) for name in ("auto", "mps", "mps:0", "cpu")] == [
        torch.device(name) for name in ("mps", "mps", "mps:0", "cpu")
    ]
    with pytest.raises(UserError, match="--device mps:1: torch has no such device here"):
        choose_device("mps:1")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="--device mps: torch has no such device here; use --device cpu"):
        choose_device("mps")
    with pytest.raises(UserError, match="--device xpu: only cpu, cuda and mps are supported"):
        choose_device("xpu")


@pytest.mark.parametrize("backbone", ["resnet18", "vgg16", "mobilenet-v3-fpn"])
@pytest.mark.parametrize("name", DEVICES)
def test_losses_gradients_and_detections_are_those_of_the_cpu(
    params: Params, name: str, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backbone.endswith("fpn"):
        params = change(params, {"anchors.anchor_sizes": ((16.0, 32.0, 64.0),) * 3, "model.norm": "trained"})
    outcomes = []
    for device in (torch.device("cpu"), torch.device(name)):
        model = slim_detector(params, backbone, monkeypatch).to(device).to(memory_format=layout(device))
        [found] = TorchDetector(model, device).detect([picture(120, 160, 1)], Detect(post_nms_topk=30))
        learner = TorchLearner(model, params.train, device, torch.float32)
        losses = learner.backward(batch_inputs(make_batch(), model.config), 2, 1, True, (0,))
        gradients = {key: each.grad.cpu() for key, each in model.named_parameters() if each.grad is not None}
        learner.update(1e-3)
        outcomes.append((found, {key: loss.detach().cpu() for key, loss in losses.items()}, gradients))
    (wanted, full, expected), (found, losses, gradients) = outcomes
    assert missing(found, wanted, 0.1, 1e-3) <= 0.1 * len(wanted)  # a rounding may decide what NMS keeps
    for key in LOSSES:
        torch.testing.assert_close(losses[key], full[key], atol=1e-3, rtol=1e-2)
    assert gradients.keys() == expected.keys()
    for key, gradient in gradients.items():
        assert (gradient - expected[key]).norm() <= 0.05 * expected[key].norm() + 1e-6, key
