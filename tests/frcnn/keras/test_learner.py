"""Training with Keras: the same weights as torch after the same steps, resumed exactly, validated, dropout by seed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frcnn.detector.interfaces import Learner, Weights
from frcnn.keras.learner import KerasLearner
from frcnn.params import Params
from frcnn.pytorch.learner import TorchLearner
from frcnn.pytorch.weights import arrays_of
from frcnn.training.batches import EpochBatches
from frcnn.training.checkpoint import load_checkpoint
from frcnn.training.loop import Interrupted, Job, train_phase
from frcnn.training.setup import Inputs, Setup, set_up
from tests.factories import build_twins, change, make_batch

pytestmark = pytest.mark.tensorflow
Make = Callable[..., tuple[Setup, Job]]


@pytest.fixture
def make(params: Params, dataset: Path, anchors: Path, tmp_path: Path) -> Make:
    """Return a maker of what training with TensorFlow starts from; train parameters can be replaced."""

    def make(name: str = "last", augment: str = "none", **train: object) -> tuple[Setup, Job]:
        values = {f"train.{key}": value for key, value in ({"framework": "tensorflow"} | train).items()}
        changed = change(params, values | {"augment.preset": augment})
        setup = set_up(changed, 1, Inputs(dataset, anchors, None), "cpu")
        job = Job(1, changed.train_phase1, setup.source, setup.fingerprint, tmp_path / name, held_out=setup.held_out)
        return setup, job

    return make


def largest_difference(found: Weights, expected: Weights) -> float:
    """Return the largest relative difference of a tensor."""
    assert found.keys() == expected.keys()
    return max(
        float(np.linalg.norm(found[name].astype(float) - array) / max(np.linalg.norm(array.astype(float)), 1e-3))
        for name, array in expected.items()
    )


def train(learner: Learner, job: Job, stop_after: int | None = None) -> list[dict]:
    """Train to the end, or until `stop_after` steps of this call; return the rows."""
    steps: list = []
    return train_phase(learner, job, steps.append, lambda: len(steps) == stop_after, lambda _: None)


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
def test_three_steps_move_the_weights_as_torchs_do(params: Params, backbone: str) -> None:
    params = change(params, {f"train.optimizer.{k}": v for k, v in {"name": "sgd", "weight_decay": 5e-4}.items()})
    twins = build_twins(params, backbone=backbone, width=64, freeze_at=2, norm="frozen")
    learners = (
        TorchLearner(twins.torch, params.train, torch.device("cpu"), torch.float32),
        KerasLearner(twins.torch.config, {name: each.numpy() for name, each in twins.start.items()}, params.train),
    )
    for rate in (1e-4, 1e-4, 5e-5):
        for learner in learners:
            learner.backward(learner.to_inputs(twins.batch), 2, 1, True, (1,))
            learner.update(rate)
    expected, found = (learner.weights() for learner in learners)
    start = {name: each.numpy() for name, each in twins.start.items()}
    moved = {name: array - start[name] for name, array in expected.items()}
    assert largest_difference(found, expected) < 1e-4
    assert max(float(np.linalg.norm(move) / np.linalg.norm(start[name])) for name, move in moved.items()) > 1e-3


@pytest.mark.parametrize("schedule", ["constant", "cosine", "steps"])
def test_average_and_schedules_are_torchs(make: Make, schedule: str) -> None:
    milestones = [0.5] if schedule == "steps" else []
    kept, rates = [], []
    for framework in ("torch", "tensorflow"):
        ready, job = make(framework, ema_decay=0.5, framework=framework, **{"optimizer.name": "sgd"})
        phase = job.phase.model_copy(update={"schedule": schedule, "milestones": milestones, "learning_rate": 3e-5})
        learner = ready.learner()
        rates.append([row["learning_rate"] for row in train(learner, replace(job, phase=phase, log_steps=1))])
        kept.append(learner.weights())
    assert rates[0] == rates[1] and len(rates[0]) > 3
    assert largest_difference(kept[1], kept[0]) < 1e-5
    assert largest_difference(kept[1], arrays_of(ready.network)) > 1e-4


def test_the_average_follows_with_a_growing_decay(make: Make) -> None:
    ready, job = make(ema_decay=0.15)
    learner = ready.learner()
    batch = EpochBatches(ready.source, [np.arange(4)], (1, 0), lambda batch: batch)[0]
    expected: Weights = {}
    for step in range(3):  # the decay: 0 / 1, then 2 / 11 and 3 / 12, of which 0.15 is the most
        learner.backward(learner.to_inputs(batch), 4, 1, True, (1,))
        learner.update(1e-2)
        decay = 0.15 if step else 0.0
        new = learner.weights()
        expected = {
            name: array if array.dtype.kind == "i" else decay * expected.get(name, 0) + (1 - decay) * array
            for name, array in new.items()
        }
    assert largest_difference(learner.kept_weights(), expected) < 1e-6
    assert largest_difference(learner.kept_weights(), learner.weights()) > 1e-5


def test_batches_without_any_object_train_as_torchs_do(params: Params) -> None:
    twins = build_twins(params)
    batch = make_batch(twins.params, [[], []])
    assert batch.gt_boxes.shape == (2, 0, 4)
    weights = {name: each.numpy() for name, each in twins.start.items()}
    ours = TorchLearner(twins.torch, params.train, torch.device("cpu"), torch.float32)
    theirs = KerasLearner(twins.torch.config, weights, params.train)
    expected, found = (each.backward(each.to_inputs(batch), 2, 1, True, (1,)) for each in (ours, theirs))
    for name in expected:
        np.testing.assert_allclose(np.asarray(found[name]), expected[name].detach(), rtol=1e-3)
        assert name.endswith("cls") == bool(expected[name].all())
    for learner in (ours, theirs):
        learner.update(1e-3)
        assert all(np.isfinite(array).all() for array in learner.weights().values())


@pytest.mark.parametrize(
    "changes", [{}, {"grad_accum": 2, "optimizer.name": "sgd", "augment": "strong"}, {"ema_decay": 0.9}]
)
def test_interrupted_or_not_the_weights_are_the_same(make: Make, changes: dict[str, Any]) -> None:
    ready, job = make("undisturbed", **changes)
    undisturbed = ready.learner()
    rows = train(undisturbed, job)
    ready, job = make(**changes)
    with pytest.raises(Interrupted):
        train(ready.learner(), job, stop_after=4)
    resumed = ready.learner()
    for row, expected in zip(train(resumed, job), rows, strict=True):
        assert row == pytest.approx(expected)
    assert largest_difference(resumed.weights(), undisturbed.weights()) < 1e-6


def test_validation_is_logged_and_the_best_is_kept(make: Make) -> None:
    ready, job = make(**{"validation.fraction": 0.25, "validation.keep": "best"})
    learner = ready.learner()
    rows = train(learner, job)
    assert all(0 <= row["val_mAP"] <= 1 and row["val_loss"] > 0 for row in rows)
    best = load_checkpoint(job.checkpoint)["best"]
    assert largest_difference(learner.weights(), {name: each.numpy() for name, each in best.items()}) == 0


def test_losses_in_evaluation_are_torchs_and_move_no_statistics(make: Make) -> None:
    ready, job = make()
    batch = EpochBatches(ready.source, [np.arange(4)], (1, 0), lambda batch: batch)[0]
    torch_learner = TorchLearner(ready.network, job.train, torch.device("cpu"), torch.float32)
    learner = KerasLearner(ready.network.config, arrays_of(ready.network), job.train)
    with torch_learner.evaluating(), learner.evaluating():
        expected, found = (each.losses(each.to_inputs(batch)) for each in (torch_learner, learner))
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert largest_difference(learner.weights(), arrays_of(ready.network)) == 0
