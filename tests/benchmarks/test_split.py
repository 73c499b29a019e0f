"""A step is split from outside, and nothing of it remains."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import split
from benchmarks.inputs import make_batch
from benchmarks.split import OTHER, detection_parts, split_seconds, training_parts
from benchmarks.workloads import build_model, training_step
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params
from frcnn.pytorch.optimizer import build_optimizer

CPU = torch.device("cpu")


def test_every_part_of_training_takes_time(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    model = build_model(small, batch, training=True)
    optimizer = build_optimizer(model, small.train)
    parts = training_parts(model, optimizer)
    before = [vars(owner).get(name) for _, owner, name in parts]
    seconds = split_seconds(
        lambda: training_step(model, optimizer, batch, small.train, torch.float32), parts, repeats=2, device=CPU
    )
    assert list(seconds) == [
        "backbone", "RPN", "proposals with NMS", "sampling", "RoI pooling", "head", "losses", "backward", "optimizer",
        OTHER,
    ]  # fmt: skip
    for name, values in seconds.items():
        assert len(values) == 2, name
        assert min(values) > 0, name  # of OTHER: the parts are disjoint
    assert [vars(owner).get(name) for _, owner, name in parts] == before


def test_detection_is_the_same_when_it_is_split(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    model = build_model(small, batch, training=False)
    found = []

    def detect() -> None:
        found.append(model.detect(batch.images, batch.sizes, small.detect))

    detect()
    seconds = split_seconds(detect, detection_parts(model), repeats=1, device=CPU)
    assert all(values[0] > 0 for values in seconds.values())
    for whole, in_parts in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(whole, in_parts, strict=True))


def test_a_part_has_the_time_that_its_function_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only the functions move."""
    clock = SimpleNamespace(now=0.0)

    def work(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(split.time, "perf_counter", lambda: clock.now)
    owner = SimpleNamespace(a=lambda: work(1), b=lambda: work(20), c=lambda: work(300))

    def step() -> None:
        owner.a(), work(4000), owner.b(), owner.c(), owner.a()

    parts = [("a", owner, "a"), ("b and c", owner, "b"), ("b and c", owner, "c")]
    assert split_seconds(step, parts, 2, CPU) == {"a": [2, 2], "b and c": [320, 320], OTHER: [4000, 4000]}
