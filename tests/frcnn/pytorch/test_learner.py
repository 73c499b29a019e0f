"""Training in float16: scaled gradients, steps that are left out, the state of the scaler."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from frcnn.detector.config import LOSSES
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.inputs import Inputs, batch_inputs
from frcnn.pytorch.learner import TorchLearner
from frcnn.training.checkpoint import load_checkpoint, save_checkpoint
from tests.factories import build, change
from tests.frcnn.pytorch.test_faster_rcnn import make_batch

Learner = Callable[..., TorchLearner]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
GROWTH = 2000  # steps after which torch's scaler doubles the scale


@pytest.fixture
def learner(params: Params) -> Learner:
    """Return a maker of learners with equal weights."""

    def make(precision: torch.dtype = torch.float16, **train: object) -> TorchLearner:
        values = {"optimizer.name": "sgd", "optimizer.momentum": 0.9} | train
        return TorchLearner(build(params), change(params.train, values), torch.device("cpu"), precision)

    return make


@pytest.fixture
def inputs(learner: Learner) -> Inputs:
    return batch_inputs(make_batch(), learner().config)


def step(learner: TorchLearner, inputs: Inputs, batches: int = 1, spoil: bool = False) -> dict[str, torch.Tensor]:
    """Take a step with as many batches, the last of which may leave an infinite gradient; return its losses."""
    for number in range(batches):
        losses = learner.backward(inputs, 2, batches, number == batches - 1, (number,))
    if spoil:
        gradient = learner.model.rpn.conv.weight.grad
        assert gradient is not None
        gradient[0] = torch.inf
    learner.update(1e-3)
    return losses


def saved(learner: TorchLearner) -> bytes:
    """Return what a checkpoint holds of a learner, but for the running statistics of its norms."""
    buffer = io.BytesIO()
    state = learner.optimizer_state()
    tensors = learner.model.state_dict() | state.pop("average", {})
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith(STATISTICS)}
    torch.save([state, kept], buffer)
    return buffer.getvalue()


def scale(learner: TorchLearner) -> float:
    return learner.optimizer_state()["scaler"]["scale"]


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("clip", [None, "global_norm"])
def test_losses_and_weights_are_near_those_of_float32(
    learner: Learner, inputs: Inputs, batches: int, clip: str | None
) -> None:
    clipped = {"optimizer.clip_gradients": clip, "optimizer.clip_at": 0.1}
    full, half = learner(torch.float32, **clipped), learner(**clipped)
    before = full.model.rpn.conv.weight.detach().clone()
    for _ in range(3):
        expected, found = (step(each, inputs, batches) for each in (full, half))
        for name in LOSSES:
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(found[name], expected[name], atol=5e-3, rtol=2e-2)
    moved, half_moved = (each.model.rpn.conv.weight.detach() - before for each in (full, half))
    assert (half_moved - moved).norm() < 0.05 * moved.norm()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_with_an_infinite_gradient_is_as_if_it_had_not_been(learner: Learner, inputs: Inputs, name: str) -> None:
    """At the very first step, and later."""
    undisturbed, spoilt = (learner(**{"optimizer.name": name, "ema_decay": 0.9}) for _ in range(2))
    before = saved(undisturbed)
    for _ in range(2):
        step(spoilt, inputs, spoil=True)
        assert scale(spoilt) == scale(undisturbed) / 2
        fresh = {"scaler": undisturbed.optimizer_state()["scaler"]}
        spoilt.load_optimizer_state(spoilt.optimizer_state() | fresh)
        for each in (undisturbed, spoilt):
            step(each, inputs)
        assert saved(spoilt) == saved(undisturbed) != before


def test_the_scale_grows_after_many_finite_steps(learner: Learner, inputs: Inputs) -> None:
    half = learner()
    state = half.optimizer_state()
    state["scaler"]["_growth_tracker"] = GROWTH - 2
    half.load_optimizer_state(state)
    scales = []
    for _ in range(2):
        step(half, inputs)
        scales.append(scale(half))
    assert scales == [2.0**16, 2.0**17]


def test_gradients_that_overflow_at_every_scale_are_told(learner: Learner, inputs: Inputs) -> None:
    half = learner()
    state = half.optimizer_state()
    state["scaler"]["scale"] = 2.0
    half.load_optimizer_state(state)
    step(half, inputs, spoil=True)
    assert scale(half) == 1
    with pytest.raises(UserError, match=r"^train.precision: .* use bf16 or float32"):
        step(half, inputs, spoil=True)


def test_a_run_goes_on_with_the_same_bytes(learner: Learner, inputs: Inputs, tmp_path: Path) -> None:
    """The scale has been halved before the checkpoint; without it the steps after it would differ."""
    whole, first, second = (learner(ema_decay=0.9) for _ in range(3))
    for each in (whole, first):
        step(each, inputs, spoil=True)
        step(each, inputs)
    save_checkpoint(tmp_path / "last.pt", {"model": first.model.state_dict(), "optimizer": first.optimizer_state()})
    content = load_checkpoint(tmp_path / "last.pt")
    assert content is not None
    second.model.load_state_dict(content["model"])
    second.load_optimizer_state(content["optimizer"])
    for each in (whole, second):
        step(each, inputs)
    assert saved(second) == saved(whole)
    assert scale(second) == 2.0**15


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_other_precisions_keep_nothing_of_it(learner: Learner, inputs: Inputs, precision: torch.dtype) -> None:
    other = learner(precision)
    assert set(other.optimizer_state()) == {"state", "param_groups"}
    assert all(group["fused"] for group in other.optimizer_state()["param_groups"])
    step(other, inputs)
