"""The random network works as a trained one does, and a measured step is a step of training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.inputs import make_batch, make_source
from benchmarks.timing import recorded
from benchmarks.workloads import OBJECTNESS_STD, RPN_DELTA_STD, build_model, count_rois, training_step
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params
from frcnn.pytorch.learner import TorchLearner
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.training.batches import EpochBatches, plan_epoch
from frcnn.training.loop import Job, train_phase

CPU = torch.device("cpu")


def test_outputs_have_the_spread_of_a_trained_network(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    model = build_model(small, batch, training=False)
    with recorded(model.rpn, "forward") as outputs:
        found = model.detect(batch.images, batch.sizes, small.detect)
    [(logits, deltas)] = outputs
    assert logits.std().item() == pytest.approx(OBJECTNESS_STD, rel=0.05)
    assert deltas.std().item() == pytest.approx(RPN_DELTA_STD, rel=0.05)
    assert logits.mean().item() == pytest.approx(0, abs=0.01)
    assert all(len(scores) > 0 for _, scores, _ in found)


def test_proposals_reach_the_limits(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    model = build_model(small, batch, training=True)
    train = small.train
    counts = count_rois(lambda: model.losses(batch, train))
    assert counts == {"proposals": train.post_nms_topk, "RoIs": train.roi_batch}
    few = replace(small.detect, post_nms_topk=7)
    assert count_rois(lambda: model.detect(batch.images, batch.sizes, few)) == {"proposals": 7, "RoIs": 7}


def test_a_step_is_what_training_does(small: Params, pictures: list[Annotation], tmp_path: Path) -> None:
    phase = replace(small.train_phase1, epochs=1, learning_rate=0.01, warmup_steps=0)
    source = make_source(pictures[:2], small, 2)
    plan = plan_epoch(source, torch.arange(2).numpy(), 1, 0)
    batch = EpochBatches(source, plan, 1, 0)[0]
    model = build_model(small, batch, training=True)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learner = TorchLearner(model, small.train, CPU, torch.float32)
    train_phase(learner, Job(1, phase, source, "", tmp_path / "c.pt"), print, lambda: False, lambda text: None)
    trained = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_state_dict(start)
    optimizer = build_optimizer(model, small.train)
    set_learning_rate(optimizer, phase.learning_rate)
    training_step(model, optimizer, batch, small.train, torch.float32)
    moved = 0
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, trained[name], rtol=1e-5, atol=1e-7)
        moved += not torch.equal(tensor, start[name])
    assert moved > 20
    assert all(parameter.grad is None for parameter in model.parameters())
