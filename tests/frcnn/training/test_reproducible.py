"""The bytes of trained weights follow from data and parameters: not from workers, stops, processes or chance."""

import hashlib
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.detector.weights_file import write_weights
from frcnn.params import Params
from frcnn.training.loop import Interrupted, Job, Report, train_phase
from frcnn.training.setup import Inputs, set_up
from tests.factories import change

pytestmark = pytest.mark.slow

STEPS = 20  # four epochs of five batches


@dataclass(frozen=True)
class Setting:
    """What every run starts from."""

    params: Params
    inputs: Inputs
    folder: Path


@dataclass(frozen=True)
class Result:
    """Digest of the weights file, rows of the log, and the steps that this call made."""

    weights: str
    rows: list[dict]
    steps: list[int]


@pytest.fixture(scope="module")
def setting(params: Params, dataset: Path, anchors: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    longer = change(params, {"train_phase1.epochs": 4, "train_phase1.warmup_steps": 5})
    return Setting(longer, Inputs(dataset, anchors, None), tmp_path_factory.mktemp("reproducible"))


def run(setting: Setting, name: str, workers: int, stop_after: int | None = None, disturb: bool = False) -> Result:
    """Train phase 1, or go on with the run of this name; stop after `stop_after` steps of this call.

    With `disturb`, others use and seed the global random numbers at every step.
    """
    setup = set_up(setting.params, 1, setting.inputs, "cpu")
    checkpoint = setting.folder / f"{name}.pt"
    job = Job(1, setting.params.train_phase1, setup.source, setup.fingerprint, checkpoint, workers=workers)
    learner = setup.learner()
    steps: list[int] = []

    def on_step(report: Report) -> None:
        steps.append(report.step)
        if disturb:
            for seed in (torch.manual_seed, np.random.seed, random.seed):
                seed(report.step)

    try:
        rows = train_phase(learner, job, on_step, lambda: len(steps) == stop_after, lambda _: None)
    except Interrupted:
        rows = []
    path = setting.folder / f"{name}.safetensors"
    write_weights(path, learner.config, learner.weights(), setup.provenance)
    return Result(hashlib.sha256(path.read_bytes()).hexdigest(), rows, steps)


@pytest.fixture(scope="module")
def undisturbed(setting: Setting) -> Result:
    result = run(setting, "undisturbed", workers=0)
    assert result.steps == list(range(1, STEPS + 1))
    return result


@pytest.mark.parametrize("workers", [0, 2])
def test_neither_workers_nor_the_global_random_numbers_matter(
    setting: Setting, undisturbed: Result, workers: int
) -> None:
    assert run(setting, f"workers {workers}", workers, disturb=True) == undisturbed


@pytest.mark.parametrize(("before", "after"), [(0, 2), (2, 0)])
def test_neither_a_stop_nor_another_number_of_workers_after_it_matters(
    setting: Setting, undisturbed: Result, before: int, after: int
) -> None:
    """Stopped in the second epoch and again in the third."""
    name = f"from {before} to {after} workers"
    first = run(setting, name, before, stop_after=7)
    second = run(setting, name, after, stop_after=6, disturb=True)
    last = run(setting, name, after)
    assert [result.steps[-1] for result in (first, second, last)] == [7, 13, STEPS]
    assert len({result.weights for result in (first, second, last)}) == 3
    assert (last.weights, last.rows) == (undisturbed.weights, undisturbed.rows)


def test_the_process_does_not_matter(setting: Setting, undisturbed: Result) -> None:
    """Begun in another process, whose hashes of texts differ, and gone on with in this one."""
    threads = torch.get_num_threads()  # on which the order of sums depends, and so the last bits
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        begun = pool.submit(run, setting, "elsewhere", 0, 7).result(timeout=300)
    assert begun.steps[-1] == 7
    assert run(setting, "elsewhere", 0) == replace(undisturbed, steps=list(range(8, STEPS + 1)))
