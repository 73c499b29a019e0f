"""How long training takes here: a few real steps in a process of their own, whose memory is that of training."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frcnn.advice.coverage import resize_objects
from frcnn.data.voc.annotation import Annotation
from frcnn.errors import UserError
from frcnn.params import Params, to_dict
from frcnn.training.plan import plan_epoch

MODULE = "frcnn.advice.timed_step"  # loads torch


@dataclass(frozen=True)
class Timing:
    """A training step on this machine.

    Attributes:
        seconds: of a step on the batch that was timed, with its pictures read where training does so in between.
        steps: of an epoch.
        mebibytes: the most that the process took, on CUDA that its tensors took on the device.
        size: (width, height) of the batch in pixels.
        device: where, and in which precision.
    """

    seconds: float
    steps: int
    mebibytes: float
    size: tuple[int, int]
    device: str


def time_training(
    dataset: Path, annotations: Sequence[Annotation], class_names: Sequence[str], params: Params
) -> Timing:
    """Time a training step from random weights; nothing is fetched or written.

    Args:
        annotations: of the training split, at least one.

    Raises:
        UserError: training cannot run here with these parameters, or there is not enough memory.
    """
    sizes = resize_objects(annotations, params.data).sizes
    held_out = math.ceil(params.train.validation.fraction * len(sizes))
    plan = plan_epoch(sizes, params.train, np.arange(max(1, len(sizes) - held_out)), 1, 0)
    whole = [batch for batch in plan if len(batch) == max(map(len, plan))]
    batch = sorted(whole, key=lambda each: sizes[each].max(0).prod())[len(whole) // 2]
    request = {
        "params": to_dict(params),
        "dataset": str(dataset),
        "classes": list(class_names),
        "images": [annotations[i].image_id for i in batch],
    }
    done = subprocess.run(
        [sys.executable, "-m", MODULE],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode < 0:
        raise UserError(f"a step of {len(batch)} images was killed, as for want of memory; lower train.batch_size")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"no step could be timed: {reason.rpartition('Error: ')[2]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    size = sizes[batch].max(0)
    return Timing(answer["seconds"], len(plan), answer["mebibytes"], (int(size[0]), int(size[1])), answer["device"])
