"""Trace a few training steps with torch.profiler, and on CUDA the memory that they allocate."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from frcnn import distributed
from frcnn.detector.interfaces import Learner
from frcnn.files import atomic_path
from frcnn.training.batches import EpochBatches, loader
from frcnn.training.loop import Job

WARM_UP, STEPS = 2, 5


def profile_steps(learner: Learner, job: Job, folder: Path) -> list[Path]:
    """Train a few steps at a learning rate of 0 and write what they do; of several processes only the main one writes.

    Returns:
        The files: `trace.json`, for chrome://tracing or Perfetto, and on CUDA `memory.pickle`, for
        pytorch.org/memory_viz.

    Raises:
        UserError: a file cannot be written.
    """
    order = np.random.default_rng(job.train.seed).permutation(len(job.source.targets))
    plan = [order.take(range(i, i + job.train.batch_size), mode="wrap") for i in range(WARM_UP + STEPS)]
    inputs = loader(EpochBatches(job.source, plan, (job.number, 0), learner.to_inputs), 0, job.workers, learner.cuda)
    batches = iter(inputs)
    for batch in islice(batches, WARM_UP):
        _step(learner, job, batch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if learner.cuda else [])]
    if learner.cuda:
        torch.cuda.memory._record_memory_history()
    with profile(activities=activities, record_shapes=True) as trace:
        for batch in batches:
            _step(learner, job, batch)
    if not distributed.is_main():
        return []
    paths = [folder / "trace.json"]
    with atomic_path(paths[0]) as temporary:
        trace.export_chrome_trace(str(temporary))
    if learner.cuda:
        paths.append(folder / "memory.pickle")
        with atomic_path(paths[1]) as temporary:
            torch.cuda.memory._dump_snapshot(str(temporary))
    return paths


def _step(learner: Learner, job: Job, inputs: object) -> None:
    learner.backward(inputs, job.train.batch_size, 1, True, (job.train.seed,))
    learner.update(0.0)
