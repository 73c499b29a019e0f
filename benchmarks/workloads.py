"""The network under measurement: random weights that work as trained ones do, a training step, counts of its RoIs."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.inputs import CLASS_NAMES
from benchmarks.timing import recorded
from frcnn.detector.config import DetectorConfig, preprocessing_of
from frcnn.params import Params, Train
from frcnn.pytorch import faster_rcnn
from frcnn.pytorch.faster_rcnn import Batch, FasterRCNN

# Mean and spread of the outputs over an image. NMS then leaves more proposals than are kept, as with a trained
# network, and some hundreds of (RoI, class) pairs pass the score threshold.
OBJECTNESS_STD, RPN_DELTA_STD, CLASS_STD, BACKGROUND_MEAN, ROI_DELTA_STD = 1.0, 0.2, 2.0, 4.0, 0.5


def build_model(params: Params, batch: Batch, training: bool) -> FasterRCNN:
    """Return a network on the batch's device, ready to train or to detect, with random but typical weights."""
    torch.manual_seed(0)
    model, names = params.model, CLASS_NAMES
    config = DetectorConfig(names, model, params.anchors, params.data, preprocessing_of(model.backbone))
    network = FasterRCNN(config).to(batch.images.device).to(memory_format=torch.channels_last).train(training)
    _make_typical(network, batch, params)
    return network


def _make_typical(model: FasterRCNN, batch: Batch, params: Params) -> None:
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
    model.detect(batch.images, batch.sizes, params.detect)
    for hook in hooks:
        hook.remove()


def _standardize(mean: Tensor, std: float) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Return a hook that changes a layer, and the output it is called with, to this mean and spread a channel."""

    def hook(layer: Any, inputs: Any, output: Tensor) -> Tensor:
        rows = output.movedim(1, -1)
        axes = tuple(range(rows.ndim - 1))
        scale = std / rows.std(axes)
        shift = mean.to(output.device) - rows.mean(axes) * scale
        layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
        layer.bias.mul_(scale).add_(shift)
        return (rows * scale + shift).movedim(-1, 1)

    return hook


def training_step(
    model: FasterRCNN, optimizer: torch.optim.Optimizer, batch: Batch, train: Train, precision: torch.dtype
) -> None:
    """Do what a step of `frcnn.training.loop` does to the weights."""
    losses = model.losses(batch, train, precision)
    torch.stack(list(losses.values())).sum(0).mean().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def count_rois(step: Callable[[], Any]) -> dict[str, float]:
    """Return the mean number of proposals and of classified RoIs an image in a call of our network."""
    with ExitStack() as stack:
        proposed = stack.enter_context(recorded(faster_rcnn, "generate_proposals"))
        sampled = stack.enter_context(recorded(faster_rcnn, "sample_rois"))
        step()
    [(_, real)] = proposed
    classified = sampled[0].labels >= 0 if sampled else real  # all of them in detection
    return {name: counts.sum(1).double().mean().item() for name, counts in (("proposals", real), ("RoIs", classified))}
