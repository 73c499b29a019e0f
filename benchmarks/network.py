"""Time training and detection: whole steps beside torchvision's and a matrix product, and split into parts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.inputs import CLASS_NAMES, Setup, make_batch
from benchmarks.loop import training_from_files
from benchmarks.measure import (
    MEBIBYTE,
    Measurement,
    Tables,
    count_flops,
    interleave,
    matrix_product,
    measurement,
    milliseconds,
    peak_memory,
    rate,
    ratio,
    reset_peak_memory,
    seconds_by_region,
)
from benchmarks.torchvision_model import build_rival, rival_detect, rival_inputs, rival_optimizer, rival_training_step
from frcnn.allocation import keep_freed_memory, return_freed_memory
from frcnn.detector.batch import Batch
from frcnn.detector.config import detector_config
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import ImageInputs, batch_inputs, to_device
from frcnn.pytorch.learner import TorchLearner

OURS, RIVAL, KERAS, PRODUCT = "frcnn", "torchvision", "tensorflow float32", "matrix product"
GIGA = 1e9
# The record_function regions of a step, in the order of their turn.
DETECTION = ("backbone", "rpn", "proposals", "roi_pooling", "head", "postprocessing")
TRAINING = ("backbone", "rpn", "proposals", "sampling", "roi_pooling", "head", "losses", "backward", "optimizer")
# Mean and spread of the outputs over an image. NMS then leaves more proposals than are kept, as with a trained
# network, and some hundreds of (RoI, class) pairs pass the score threshold.
OBJECTNESS_STD, RPN_DELTA_STD, CLASS_STD, BACKGROUND_MEAN, ROI_DELTA_STD = 1.0, 0.2, 2.0, 4.0, 0.5
Call = Callable[[], Any]


def training(setup: Setup) -> Tables:
    """Measure training: on a batch that is on the device already, by part, and from files; the rate is 0."""
    batch = make_batch(setup.annotations, setup.params)
    model = build_model(setup.params, batch, setup.device, training=True)
    learner = TorchLearner(model, setup.params.train, setup.device, setup.precision)
    inputs = to_device(batch_inputs(batch, model.config), setup.device)

    def step() -> None:
        learner.backward(inputs, setup.batch_size, 1, True, (0,))
        learner.update(0.0)

    whole = _measure(setup, "training", step, model, batch)
    return {
        "training step": whole,
        "training step by part": _by_part(setup, step, TRAINING),
        "training from JPEG files": training_from_files(setup, model, whole[0].median / 1000),
    }


def detection(setup: Setup) -> Tables:
    """Measure detection in a batch that is on the device already."""
    batch = make_batch(setup.annotations, setup.params)
    model = build_model(setup.params, batch, setup.device, training=False)
    pictures = to_device(batch_inputs(batch, model.config).pictures, setup.device)
    step = partial(model.detect, pictures, setup.params.detect, setup.precision)
    whole = _measure(setup, "detection", step, model, batch)
    return {"detection": whole, "detection by part": _by_part(setup, step, DETECTION)}


def build_model(params: Params, batch: Batch, device: torch.device, training: bool) -> FasterRCNN:
    """Return a network on a device, ready to train or to detect, with random but typical weights."""
    torch.manual_seed(0)
    network = FasterRCNN(detector_config(CLASS_NAMES, params))
    network = network.to(device).to(memory_format=torch.channels_last).train(training)
    _make_typical(network, to_device(batch_inputs(batch, network.config).pictures, device), params)
    return network


def _make_typical(model: FasterRCNN, pictures: ImageInputs, params: Params) -> None:
    """Rescale the output layers so that each channel has the mean and spread that is named above."""
    background = torch.zeros(len(CLASS_NAMES) + 1)
    background[0] = BACKGROUND_MEAN
    zero = torch.zeros(1)
    wanted = [
        (model.rpn.objectness, zero, OBJECTNESS_STD),
        (model.rpn.deltas, zero, RPN_DELTA_STD),
        (model.predictor.classes, background, CLASS_STD),
        (model.predictor.deltas, zero, ROI_DELTA_STD),
    ]
    hooks = [layer.register_forward_hook(_standardize(mean, std)) for layer, mean, std in wanted]
    model.detect(pictures, params.detect)
    for hook in hooks:
        hook.remove()


def _standardize(mean: Tensor, std: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Return a hook that changes a layer, and the output it is called with, to this mean and spread per channel."""
    done = False

    def hook(layer: Any, inputs: Any, output: Tensor) -> Tensor | None:
        nonlocal done
        if done:  # of a pyramid the first map decides, which has most of the anchors
            return None
        done = True
        rows = output.movedim(1, -1)
        axes = tuple(range(rows.ndim - 1))
        scale = std / rows.std(axes)
        shift = mean.to(output.device) - rows.mean(axes) * scale
        layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.mul_(scale).add_(shift)
        return (rows * scale + shift).movedim(-1, 1)

    return hook


def _measure(setup: Setup, what: str, step: Call, model: FasterRCNN, batch: Batch) -> list[Measurement]:
    """Return the time of a step, in the first row, and the rates, rivals, counts and memory that belong to it."""
    reset_peak_memory(setup.device)
    for _ in range(2):
        step()
    memory = measurement("peak memory", "MiB", [peak_memory(setup.device)])
    flops = count_flops(step)
    rivals, counts = _rivals(setup, what, model, batch) if "torchvision" in setup.rivals else ({}, [])
    if "tensorflow" in setup.rivals:
        from benchmarks import keras_network  # TensorFlow is imported only where it is asked for

        rivals[KERAS] = getattr(keras_network, f"keras_{what}")(model, batch, setup.params)
    product, product_flops = matrix_product(setup.device, setup.precision)
    functions = {OURS: step} | rivals | {PRODUCT: product}
    seconds = interleave(functions, setup.repeats, partial(_allocate_as_usual, setup.device))
    ours = seconds[OURS]
    rows = [
        milliseconds("step", ours),
        rate("images per second", "1/s", setup.batch_size, ours),
        rate("achieved", "GFLOP/s", flops / GIGA, ours),
        rate(PRODUCT, "GFLOP/s", product_flops / GIGA, seconds[PRODUCT]),
        ratio(f"achieved / {PRODUCT}", [flops / s for s in ours], [product_flops / s for s in seconds[PRODUCT]]),
    ]
    for name in rivals:
        rows += [milliseconds(name, seconds[name]), ratio(f"{name} / {OURS}", seconds[name], ours)]
    return [*rows, measurement("arithmetic", "GFLOP", [flops / GIGA]), memory, *counts]


def _allocate_as_usual(device: torch.device, name: str) -> None:
    """Allocate memory on the CPU as our commands do, or as the C library does by default for everyone else."""
    if device.type == "cpu":
        (return_freed_memory if name.startswith(RIVAL) else keep_freed_memory)()


def _rivals(setup: Setup, what: str, model: FasterRCNN, batch: Batch) -> tuple[dict[str, Call], list[Measurement]]:
    """Build torchvision's model; return what is timed of it, and its arithmetic and, on CUDA, peak memory."""
    cuda = setup.device.type == "cuda"
    before = torch.cuda.memory_allocated(setup.device) if cuda else 0
    rival = build_rival(model, setup.params)
    inputs = rival_inputs(batch, model.config.preprocessing, setup.device)
    step: Callable[[torch.dtype], Any] = (
        partial(rival_training_step, rival, rival_optimizer(rival, setup.params), inputs)
        if what == "training"
        else partial(rival_detect, rival, inputs[0])
    )
    reset_peak_memory(setup.device)
    for _ in range(2):
        step(torch.float32)
    memory = peak_memory(setup.device) - before / MEBIBYTE
    plain = partial(step, torch.float32)
    counts = [measurement(f"{RIVAL}: arithmetic", "GFLOP", [count_flops(plain) / GIGA])]
    if cuda:  # the peak of a process on the CPU is that of both models
        counts.append(measurement(f"{RIVAL}: peak memory, float32", "MiB", [memory]))
    calls: dict[str, Call] = {f"{RIVAL} float32": plain}
    if setup.precision != torch.float32:
        calls[f"{RIVAL} autocast"] = partial(step, setup.precision)
    return calls, counts


def _by_part(setup: Setup, step: Call, regions: tuple[str, ...]) -> list[Measurement]:
    seconds = seconds_by_region(step, regions, setup.repeats, setup.device)
    return [milliseconds(name, [value]) for name, value in seconds.items()]
