"""Time the training loop as it is, from JPEG files to moved weights: how long a step waits for its data."""

import contextlib
import time
from typing import Any

import numpy as np
import torch

from benchmarks.inputs import Setup, make_source
from benchmarks.measure import Measurement, calls_per_repetition, measurement, milliseconds, rate
from frcnn.params.training import Phase
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import Inputs
from frcnn.pytorch.learner import TorchLearner
from frcnn.training.loop import Job, Report, train_phase

FREEZE = Phase.model_construct(epochs=1, learning_rate=0.0, warmup_steps=0)  # random weights stay what they are
READ_AHEAD = 2  # batches that each loading process prepares before they are asked for


def training_from_files(setup: Setup, model: FasterRCNN, step_seconds: float) -> list[Measurement]:
    """Train on JPEG files in windows of steps.

    Args:
        step_seconds: estimate, to choose the length of a window.
    """
    read_ahead = READ_AHEAD * setup.workers
    steps = max(calls_per_repetition(step_seconds), read_ahead)  # a window cannot live on what was read before it
    warm_up = steps + read_ahead
    count = warm_up + setup.repeats * steps + read_ahead  # loading goes on to the end of the last window
    job = Job(
        number=1,
        phase=FREEZE,
        source=make_source(setup.annotations, setup.params, count * setup.batch_size),
        fingerprint="",
        checkpoint=setup.scratch / "checkpoint.pt",
        workers=setup.workers,
    )
    seconds, waits = _windows(setup, model, job, warm_up, steps)
    return [
        milliseconds("step", seconds),
        rate("images per second", "1/s", setup.batch_size, seconds),
        milliseconds("data wait", waits),
        measurement("data wait / step", "times", [wait / second for wait, second in zip(waits, seconds, strict=True)]),
        measurement("loading processes", "", [setup.workers]),
    ]


class _Enough(Exception):
    """All windows are measured."""


class _TimedLearner(TorchLearner):
    """A learner that adds up the time between its steps, in which the loop waits for data."""

    waited, idle_since = 0.0, time.perf_counter()

    def backward(self, inputs: Inputs, *arguments: Any) -> dict[str, torch.Tensor]:
        self.waited += time.perf_counter() - self.idle_since
        return super().backward(inputs, *arguments)

    def update(self, learning_rate: float) -> None:
        super().update(learning_rate)
        self.idle_since = time.perf_counter()


def _windows(setup: Setup, model: FasterRCNN, job: Job, warm_up: int, steps: int) -> tuple[list[float], list[float]]:
    """Return seconds per step and, of these, seconds of waiting for the next batch: one mean per window."""
    learner = _TimedLearner(model, setup.params.train, setup.device, setup.precision)
    marks: list[tuple[float, float]] = []

    def on_step(report: Report) -> None:
        if report.step >= warm_up and (report.step - warm_up) % steps == 0:
            if setup.device.type == "cuda":
                torch.cuda.synchronize(setup.device)
            marks.append((time.perf_counter(), learner.waited))
            if len(marks) > setup.repeats:
                raise _Enough

    with contextlib.suppress(_Enough):
        train_phase(learner, job, on_step, lambda: False, lambda text: None)
    seconds, waited = np.diff(np.array(marks), axis=0).T / steps
    return seconds.tolist(), waited.tolist()
