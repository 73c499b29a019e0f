"""Training with Keras: the same weights as torch after the same steps, resumed exactly, validated, dropout by key."""

import pytest

pytest.importorskip("tensorflow", reason="needs pip install '.[tensorflow]'")

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from twins import build_twins

from frcnn.keras.learner import KerasLearner
from frcnn.params import Params
from frcnn.pytorch.learner import Learner, TorchLearner
from frcnn.training.batches import EpochBatches
from frcnn.training.checkpoint import load_checkpoint
from frcnn.training.loop import Interrupted, Job, train_phase
from frcnn.training.setup import Prepared, prepare
from stages.anchors import run as anchors_stage

pytestmark = pytest.mark.tensorflow
ROOT = Path(__file__).resolve().parents[3]
Make = Callable[..., tuple[Prepared, Job]]


@pytest.fixture(scope="module")
def anchors(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of the drawn dataset."""
    path = tmp_path_factory.mktemp("anchors") / "anchors.h5"
    anchors_stage(params_file=ROOT / "params.demo.yaml", overrides=None, dataset=dataset, out=path, workers=0)
    return path


@pytest.fixture
def make(params: Params, dataset: Path, anchors: Path, tmp_path: Path) -> Make:
    """Return a maker of what training with TensorFlow starts from; train parameters can be replaced."""

    def make(name: str = "last", **train: object) -> tuple[Prepared, Job]:
        changed = replace(params, train=replace(params.train, framework="tensorflow", **train))
        ready = prepare(changed, 1, dataset, anchors, tmp_path, "cpu")
        job = Job(1, changed.train_phase1, ready.source, ready.fingerprint, tmp_path / name, held_out=ready.held_out)
        return ready, job

    return make


def largest_difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return the largest relative difference of a tensor."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name].double() - tensor.double()).norm() / tensor.double().norm().clamp(min=1e-3))
        for name, tensor in expected.items()
    )


def train(learner: Learner, job: Job, stop_after: int | None = None) -> list[dict]:
    """Train to the end, or until `stop_after` steps of this call; return the rows."""
    steps: list = []
    return train_phase(learner, job, steps.append, lambda: len(steps) == stop_after, lambda _: None)


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
def test_three_steps_move_the_weights_as_torchs_do(params: Params, backbone: str) -> None:
    params = replace(params, train=replace(params.train, optimizer="sgd", momentum=0.9, weight_decay=5e-4))
    twins = build_twins(params, backbone=backbone, width=64, freeze_at=2, norm="frozen")
    learners = (
        TorchLearner(twins.torch, params.train, torch.device("cpu"), torch.float32),
        KerasLearner(twins.torch.config, twins.start, params.train),
    )
    for rate in (1e-4, 1e-4, 5e-5):
        for learner in learners:
            learner.backward(twins.batch, 2, 1, True, (1,))
            learner.update(rate)
    expected, found = (learner.weights() for learner in learners)
    moved = {name: tensor - twins.start[name] for name, tensor in expected.items()}
    assert largest_difference(found, expected) < 1e-4
    assert max(float(move.norm() / twins.start[name].norm()) for name, move in moved.items()) > 1e-3


@pytest.mark.parametrize("changes", [{}, {"grad_accum": 2, "optimizer": "sgd"}], ids=["adamw", "accumulating sgd"])
def test_interrupted_or_not_the_weights_are_the_same(make: Make, changes: dict[str, object]) -> None:
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
    ready, job = make(val_fraction=0.25, keep="best")
    learner = ready.learner()
    rows = train(learner, job)
    assert all(0 <= row["val_mAP"] <= 1 and row["val_loss"] > 0 for row in rows)
    best = load_checkpoint(job.checkpoint)["best"]
    assert largest_difference(learner.weights(), best["model"]) == 0


def test_losses_in_evaluation_are_torchs_and_move_no_statistics(make: Make) -> None:
    ready, job = make()
    batch = EpochBatches(ready.source, [np.arange(4)], 1, 0)[0]
    torch_learner = TorchLearner(ready.model, job.train, torch.device("cpu"), torch.float32)
    learner = KerasLearner(ready.model.config, ready.model.state_dict(), job.train)
    with torch_learner.evaluating(), learner.evaluating():
        expected, found = torch_learner.losses(batch), learner.losses(batch)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)
    assert largest_difference(learner.weights(), ready.model.state_dict()) == 0
