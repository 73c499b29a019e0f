"""Run a phase of training as a test needs it."""

from collections.abc import Callable

import torch

from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.learner import TorchLearner
from frcnn.training.loop import Job, train_phase

Make = Callable[..., tuple[FasterRCNN, Job]]


def learner(model: FasterRCNN, job: Job) -> TorchLearner:
    return TorchLearner(model, job.train, torch.device("cpu"), torch.float32)


def train(model: FasterRCNN, job: Job, stop_after: int | None = None) -> tuple[list[dict], list[str]]:
    """Train to the end, or until `stop_after` steps of this call; return the rows and what was said."""
    steps, said = [], []
    rows = train_phase(learner(model, job), job, steps.append, lambda: len(steps) == stop_after, said.append)
    return rows, said


def bits(model: FasterRCNN) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


# 5 batches an epoch; with two accumulated the optimizer moves after 2, 4, 5, 7, 9 and 10.
