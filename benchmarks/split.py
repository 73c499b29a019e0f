"""Where the time of a step goes: wrap the parts of the model from outside, the library holds no timing code.

On CUDA the host waits for the device at every border of a part, so a split step is slower than a whole one.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.timing import replaced, synchronize
from frcnn.pytorch import faster_rcnn
from frcnn.pytorch.faster_rcnn import FasterRCNN

OTHER = "other"
Part = tuple[str, Any, str]  # name, and the owner and name of the function


def detection_parts(model: FasterRCNN) -> list[Part]:
    """Return the parts of `FasterRCNN.detect`, in the order of their turn."""
    return [*_proposing(model), *_classifying(model), ("detections with NMS", faster_rcnn, "select_detections")]


def training_parts(model: FasterRCNN, optimizer: torch.optim.Optimizer) -> list[Part]:
    """Return the parts of a training step; some consist of two functions."""
    return [
        *_proposing(model),
        ("sampling", faster_rcnn, "sample_rois"),
        *_classifying(model),
        ("losses", faster_rcnn, "rpn_losses"),
        ("losses", faster_rcnn, "roi_losses"),
        ("backward", torch.Tensor, "backward"),
        ("optimizer", optimizer, "step"),
    ]


def _proposing(model: FasterRCNN) -> list[Part]:
    return [
        ("backbone", model.backbone, "forward"),
        ("RPN", model.rpn, "forward"),
        ("proposals with NMS", faster_rcnn, "generate_proposals"),
    ]


def _classifying(model: FasterRCNN) -> list[Part]:
    return [
        ("RoI pooling", faster_rcnn, "pool_rois"),
        ("head", model.head, "forward"),
        ("head", model.predictor, "forward"),
    ]


def split_seconds(
    step: Callable[[], Any], parts: list[Part], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Return the seconds of each part, one value a repetition, and under `OTHER` those of none.

    Args:
        parts: disjoint in time: none calls another.
    """
    seconds: dict[str, list[float]] = {name: [] for name in [*(part[0] for part in parts), OTHER]}
    laps: dict[str, float] = {}
    with ExitStack() as stack:
        for name, owner, attribute in parts:
            stack.enter_context(replaced(owner, attribute, _timed(name, laps, device)))
        for _ in range(repeats):
            laps.update(dict.fromkeys(seconds, 0.0))
            synchronize(device)
            start = time.perf_counter()
            step()
            synchronize(device)
            laps[OTHER] = time.perf_counter() - start - sum(laps.values())
            for name, lap in laps.items():
                seconds[name].append(lap)
    return seconds


def _timed(name: str, laps: dict[str, float], device: torch.device) -> Callable[[Callable], Callable]:
    """Return a wrapper that adds the time of every call to laps[name]."""

    def wrap(function: Callable) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Any:
            synchronize(device)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            synchronize(device)
            laps[name] += time.perf_counter() - start
            return result

        return timed

    return wrap
