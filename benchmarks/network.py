"""Time training and detection: whole steps beside torchvision's and a matrix product, and split into parts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.flops import count_flops, matrix_product
from benchmarks.inputs import make_batch
from benchmarks.loop import training_from_files
from benchmarks.machine import allocated_memory, peak_memory, reset_peak_memory
from benchmarks.setup import Setup, Tables
from benchmarks.split import Part, detection_parts, split_seconds, training_parts
from benchmarks.timing import MILLISECONDS, Measurement, interleave, measurement, ratio
from benchmarks.torchvision_model import (
    build_rival,
    count_rival_rois,
    rival_detect,
    rival_inputs,
    rival_optimizer,
    rival_training_step,
)
from benchmarks.workloads import build_model, count_rois, training_step
from frcnn.allocation import keep_freed_memory, return_freed_memory
from frcnn.pytorch.faster_rcnn import Batch, FasterRCNN
from frcnn.pytorch.optimizer import build_optimizer

OURS, RIVAL, KERAS, PRODUCT = "frcnn", "torchvision", "tensorflow float32", "matrix product"
GIGA = 1e9
Call = Callable[[], Any]


@dataclass(frozen=True)
class Rival:
    """torchvision's model and what it is asked to do at a precision."""

    model: nn.Module
    step: Callable[[torch.dtype], Any]


def training(setup: Setup) -> Tables:
    """Measure training: on a batch that is on the device already, by part, and from files; the rate is 0."""
    batch = make_batch(setup.annotations, setup.params).to(setup.device)
    model = build_model(setup.params, batch, training=True)
    optimizer = build_optimizer(model, setup.params.train)
    step = partial(training_step, model, optimizer, batch, setup.params.train, setup.precision)
    whole = _measure(setup, "training", step, model, batch)
    parts = _by_part(setup, step, training_parts(model, optimizer))
    return {
        "training step": whole,
        "training step by part": parts,
        "training from JPEG files": training_from_files(setup, model, whole[0].median / MILLISECONDS),
    }


def detection(setup: Setup) -> Tables:
    """Measure detection in a batch that is on the device already."""
    batch = make_batch(setup.annotations, setup.params).to(setup.device)
    model = build_model(setup.params, batch, training=False)
    step = partial(model.detect, batch.images, batch.sizes, setup.params.detect, setup.precision)
    whole = _measure(setup, "detection", step, model, batch)
    return {"detection": whole, "detection by part": _by_part(setup, step, detection_parts(model))}


def _training_rival(setup: Setup, model: FasterRCNN, batch: Batch) -> Rival:
    rival = build_rival(model, setup.params)
    inputs = rival_inputs(batch, model.config.preprocessing)
    return Rival(rival, partial(rival_training_step, rival, rival_optimizer(rival, setup.params), inputs))


def _detection_rival(setup: Setup, model: FasterRCNN, batch: Batch) -> Rival:
    rival = build_rival(model, setup.params)
    images, _ = rival_inputs(batch, model.config.preprocessing)
    return Rival(rival, partial(rival_detect, rival, images))


def _keras(what: str, setup: Setup, model: FasterRCNN, batch: Batch) -> Call:
    from benchmarks import keras_network  # TensorFlow is imported only where it is asked for

    return getattr(keras_network, f"keras_{what}")(model, batch, setup.params)


def _measure(setup: Setup, what: str, step: Call, model: FasterRCNN, batch: Batch) -> list[Measurement]:
    """Return the time of a step, in the first row, and the rates, rivals, counts and memory that belong to it."""
    reset_peak_memory(setup.device)
    for _ in range(2):
        step()
    memory = measurement("peak memory", "MiB", [peak_memory(setup.device)])
    flops, rois = count_flops(step), count_rois(step)
    make_rival = partial(_training_rival if what == "training" else _detection_rival, setup, model, batch)
    rivals, counts = _rivals(setup, make_rival) if setup.against_torchvision else ({}, [])
    if setup.against_keras:
        rivals[KERAS] = _keras(what, setup, model, batch)
    product, product_flops = matrix_product(setup.device, setup.precision)
    functions = {OURS: step} | rivals | {PRODUCT: product}
    seconds = interleave(functions, setup.repeats, setup.device, partial(_allocate_as_usual, setup.device))
    ours = seconds[OURS]
    achieved, best = [flops / s / GIGA for s in ours], [product_flops / s / GIGA for s in seconds[PRODUCT]]
    rows = [
        _milliseconds("step", ours),
        measurement("images per second", "1/s", [setup.batch_size / s for s in ours]),
        measurement("achieved", "GFLOP/s", achieved),
        measurement(PRODUCT, "GFLOP/s", best),
        ratio(f"achieved / {PRODUCT}", achieved, best),
    ]
    for name in rivals:
        rows += [_milliseconds(name, seconds[name]), ratio(f"{name} / {OURS}", seconds[name], ours)]
    return [*rows, *_counts("", flops, rois), memory, *counts]


def _allocate_as_usual(device: torch.device, name: str) -> None:
    """Allocate memory on the CPU as our commands do, or as the C library does by default for everyone else."""
    if device.type != "cpu":
        return
    if name.startswith(RIVAL):
        return_freed_memory()
    else:
        keep_freed_memory()


def _rivals(setup: Setup, make_rival: Callable[[], Rival]) -> tuple[dict[str, Call], list[Measurement]]:
    """Build torchvision's model; return what is timed of it, and its counts and, on CUDA, peak memory."""
    before = allocated_memory(setup.device)
    rival = make_rival()
    reset_peak_memory(setup.device)
    for _ in range(2):
        rival.step(torch.float32)
    memory = peak_memory(setup.device) - before
    plain = partial(rival.step, torch.float32)
    counts = _counts(f"{RIVAL}: ", count_flops(plain), count_rival_rois(rival.model, plain))
    if setup.device.type == "cuda":  # the peak of a process on the CPU is that of both models
        counts.append(measurement(f"{RIVAL}: peak memory, float32", "MiB", [memory]))
    calls: dict[str, Call] = {f"{RIVAL} float32": plain}
    if setup.precision != torch.float32:
        calls[f"{RIVAL} autocast"] = partial(rival.step, setup.precision)
    return calls, counts


def _counts(prefix: str, flops: int, rois: dict[str, float]) -> list[Measurement]:
    rows = [measurement(f"{prefix}arithmetic", "GFLOP", [flops / GIGA])]
    return rows + [measurement(f"{prefix}{name} an image", "", [count]) for name, count in rois.items()]


def _by_part(setup: Setup, step: Call, parts: list[Part]) -> list[Measurement]:
    seconds = split_seconds(step, parts, setup.repeats, setup.device)
    return [_milliseconds(name, values) for name, values in seconds.items()]


def _milliseconds(what: str, seconds: list[float]) -> Measurement:
    return measurement(what, "ms", [second * MILLISECONDS for second in seconds])
