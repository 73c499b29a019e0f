"""Between the network and arrays by name, as the files hold them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frcnn.detector.interfaces import Weights
from frcnn.detector.weights_file import COUNTER, check_fit, read_weights
from frcnn.pytorch.faster_rcnn import FasterRCNN


def arrays_of(model: nn.Module) -> Weights:
    """Return `state_dict()` as NumPy arrays, which share the network's memory on a CPU."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in model.state_dict().items()}


def load_arrays(model: nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Replace all weights of a network, which may be on the device `meta`; then it is on the CPU.

    Args:
        source: where the weights are from, for the message.

    Raises:
        UserError: they are not those of the network; then nothing is loaded.
    """
    expected = model.state_dict()
    check_fit(weights, expected, source)
    tensors = {name: torch.from_numpy(array).clone() for name, array in weights.items()}
    model.load_state_dict(tensors, assign=any(tensor.is_meta for tensor in expected.values()))


def load_model(path: Path) -> FasterRCNN:
    """Build the detector that a weights file describes and load its weights, on the CPU.

    Raises:
        UserError: see `frcnn.detector.weights_file`; or the weights are not those of the network described.
    """
    config, weights = read_weights(path)
    with torch.device("meta"):  # no time is spent on random weights
        model = FasterRCNN(config)
    load_arrays(model, weights, str(path))
    return model


def load_pretrained(model: FasterRCNN, weights: Weights, source: str) -> None:
    """Load classification weights under torchvision's names into backbone and head; a pyramid's body takes all.

    Raises:
        UserError: they are not exactly those of backbone and head; then nothing is loaded.
    """
    pyramid = model.table.family == "pyramid"
    parts = nn.ModuleList([model.backbone.body] if pyramid else [model.backbone, model.head])
    own = parts.state_dict()
    own_names = {name.split(".", 1)[1]: name for name in own if not name.endswith(COUNTER)}
    if model.table.body.startswith("mobilenet"):
        weights = {name.removeprefix("features."): tensor for name, tensor in weights.items() if "features." in name}
    check_fit(weights, {name: own[own_name] for name, own_name in own_names.items()}, source)
    tensors = {own_name: torch.from_numpy(weights[name]) for name, own_name in own_names.items()}
    parts.load_state_dict(own | tensors)
