"""The network's state as NumPy arrays under the names, and in the layouts, of torch's `FasterRCNN.state_dict()`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from frcnn.detector.tensor_file import read_tensors
from frcnn.keras.faster_rcnn import FasterRCNN
from frcnn.keras.layouts import from_keras, to_keras
from frcnn.pytorch.weights import check_fit, read_config


def state(model: FasterRCNN) -> dict[str, np.ndarray]:
    """Return a copy of every variable."""
    return {name: from_keras(name, variable.numpy()) for name, variable in _named(model).items()}


def load_state(model: FasterRCNN, tensors: Mapping[str, np.ndarray], source: str) -> None:
    """Set every variable.

    Args:
        source: where the tensors are from, for messages.

    Raises:
        UserError: they are not those of the network.
    """
    variables = _named(model)
    given: dict[str, Any] = dict(tensors)
    expected: dict[str, Any] = {name: from_keras(name, np.broadcast_to(0, v.shape)) for name, v in variables.items()}
    check_fit(given, expected, source)
    for name, variable in variables.items():
        variable.assign(to_keras(name, given[name]))


def load_model(path: Path) -> FasterRCNN:
    """Build the detector that a weights file describes and load its tensors.

    Raises:
        UserError: see `frcnn.pytorch.weights.load_model`.
    """
    model = FasterRCNN(read_config(path))
    load_state(model, {name: tensor.numpy() for name, tensor in read_tensors(path).items()}, str(path))
    return model


def _named(model: FasterRCNN) -> dict[str, keras.Variable]:
    """Return the variables by the names of torch's tensors, which their paths are made of."""
    return {variable.path.replace("/", "."): variable for variable in model.variables}
