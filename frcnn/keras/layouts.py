"""Where the numbers of a tensor lie: torch's layouts, which our files have, and Keras's, which the network has.

| tensor | torch | Keras |
|---|---|---|
| convolution | (out, in, rows, columns) | (rows, columns, in, out) |
| dense layer | (out, in) | (in, out) |
| fc6, whose input is a map flattened | in: (channel, row, column) | in: (row, column, channel) |
| the others | the same | the same |
"""

import numpy as np

from frcnn.detector.layouts import (
    conv_from_keras,
    conv_to_keras,
    dense_from_keras,
    dense_to_keras,
    flattened_from_keras,
    flattened_to_keras,
)
from frcnn.keras.backbones.vgg import ROI_SIZE

FLATTENED = "head.classifier.0.weight"  # fc6


def to_keras(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return the tensor of that name in `FasterRCNN.state_dict()` as the Keras network has it."""
    if name == FLATTENED:
        return flattened_to_keras(tensor, ROI_SIZE)
    return {4: conv_to_keras, 2: dense_to_keras}.get(tensor.ndim, np.asarray)(tensor)


def from_keras(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return the tensor as torch has it, contiguous; the inverse of `to_keras`."""
    if name == FLATTENED:
        return np.ascontiguousarray(flattened_from_keras(tensor, ROI_SIZE))
    changed = {4: conv_from_keras, 2: dense_from_keras}.get(tensor.ndim, np.asarray)(tensor)
    return np.ascontiguousarray(changed).reshape(changed.shape)  # a scalar stays one
