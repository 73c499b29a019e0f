"""Time the training loop as it is, from JPEG files to moved weights: how long a step waits for its data."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.inputs import make_source
from benchmarks.setup import Setup
from benchmarks.timing import MILLISECONDS, Measurement, calls_a_repetition, measurement, replaced, synchronize
from frcnn.params import Phase
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.learner import TorchLearner
from frcnn.training import loop
from frcnn.training.batches import Source
from frcnn.training.loop import Job, Report, train_phase

FREEZE = Phase(epochs=1, learning_rate=0.0, warmup_steps=0)  # random weights stay what they are
READ_AHEAD = 2  # batches that each loading process prepares before they are asked for


def training_from_files(setup: Setup, model: FasterRCNN, step_seconds: float) -> list[Measurement]:
    """Train on JPEG files in windows of steps.

    Args:
        step_seconds: estimate, to choose the length of a window.
    """
    read_ahead = READ_AHEAD * setup.workers
    steps = max(calls_a_repetition(step_seconds), read_ahead)  # a window cannot live on what was read before it
    warm_up = steps + read_ahead
    count = warm_up + setup.repeats * steps + read_ahead  # loading goes on to the end of the last window
    source = make_source(setup.annotations, setup.params, count * setup.batch_size)
    seconds, waits = _windows(setup, model, source, warm_up, steps)
    return [
        measurement("step", "ms", [second * MILLISECONDS for second in seconds]),
        measurement("images per second", "1/s", [setup.batch_size / second for second in seconds]),
        measurement("data wait", "ms", [wait * MILLISECONDS for wait in waits]),
        measurement("data wait / step", "times", [wait / second for wait, second in zip(waits, seconds, strict=True)]),
        measurement("loading processes", "", [setup.workers]),
    ]


class _Enough(Exception):
    """All windows are measured."""


def _windows(
    setup: Setup, model: FasterRCNN, source: Source, warm_up: int, steps: int
) -> tuple[list[float], list[float]]:
    """Return seconds a step and, of these, seconds of waiting for the next batch: one mean a window."""
    waits: list[float] = []
    marks: list[tuple[float, float]] = []

    def on_step(report: Report) -> None:
        if report.step >= warm_up and (report.step - warm_up) % steps == 0:
            synchronize(setup.device)
            marks.append((time.perf_counter(), sum(waits)))
            if len(marks) > setup.repeats:
                raise _Enough

    job = Job(
        number=1,
        phase=FREEZE,
        source=source,
        fingerprint="",
        checkpoint=setup.scratch / "checkpoint.pt",
        workers=setup.workers,
    )
    learner = TorchLearner(model, setup.params.train, setup.device, setup.precision)
    with replaced(loop, "loader", _timed_loader(waits)), contextlib.suppress(_Enough):
        train_phase(learner, job, on_step, lambda: False, lambda text: None)
    seconds, waited = np.diff(np.array(marks), axis=0).T / steps
    return seconds.tolist(), waited.tolist()


def _timed_loader(waits: list[float]) -> Callable[[Callable], Callable]:
    """Return a wrapper of `frcnn.training.batches.loader` that notes how long each batch is waited for."""

    def wrap(make_loader: Callable) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            batches = iter(make_loader(*args, **kwargs))
            while True:
                start = time.perf_counter()
                batch = next(batches, None)
                waits.append(time.perf_counter() - start)
                if batch is None:
                    return
                yield batch

        return timed

    return wrap
