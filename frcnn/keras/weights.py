"""The network's state as NumPy arrays under the names, and in the layouts, of torch's `FasterRCNN.state_dict()`."""

from pathlib import Path

import keras
import numpy as np

from frcnn.detector.interfaces import Weights
from frcnn.detector.layouts import from_keras, to_keras
from frcnn.detector.weights_file import check_fit, read_weights
from frcnn.keras.faster_rcnn import FasterRCNN


def arrays_of(model: FasterRCNN) -> Weights:
    """Return a copy of every variable."""
    return {name: from_keras(name, variable.numpy()) for name, variable in _named(model).items()}


def load_arrays(model: FasterRCNN, weights: Weights, source: str) -> None:
    """Set every variable.

    Args:
        source: where the weights are from, for messages.

    Raises:
        UserError: they are not those of the network.
    """
    variables = _named(model)
    expected = {name: from_keras(name, np.broadcast_to(0, v.shape)) for name, v in variables.items()}
    check_fit(weights, expected, source)
    for name, variable in variables.items():
        variable.assign(to_keras(name, weights[name]))


def load_model(path: Path) -> FasterRCNN:
    """Build the detector that a weights file describes and load its weights.

    Raises:
        UserError: see `frcnn.detector.weights_file`; or the weights are not those of the network described.
    """
    config, weights = read_weights(path)
    model = FasterRCNN(config)
    load_arrays(model, weights, str(path))
    return model


def _named(model: FasterRCNN) -> dict[str, keras.Variable]:
    """Return the variables by the names of torch's tensors, which their paths are made of."""
    return {variable.path.replace("/", "."): variable for variable in model.variables}
