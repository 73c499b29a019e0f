"""Where the numbers of a tensor lie: PyTorch's layouts, which our files have, and Keras's.

| tensor | PyTorch | Keras |
|---|---|---|
| convolution | (out, in, rows, columns) | (rows, columns, in, out) |
| dense layer | (out, in) | (in, out) |
| fc6 of VGG-16, whose input is a flattened map | in: (channel, row, column) | in: (row, column, channel) |
| the others | the same | the same |
"""

import numpy as np

# VGG-16's layers as torchvision numbers them and as Keras names them.
VGG_LAYERS = {
    f"features.{start + 2 * index}": f"block{block}_conv{index + 1}"
    for block, (start, convolutions) in enumerate(((0, 2), (5, 2), (10, 3), (17, 3), (24, 3)), 1)
    for index in range(convolutions)
} | {"classifier.0": "fc1", "classifier.3": "fc2"}
FC6 = "classifier.0.weight"  # the end of its name
ROI_SIZE = 7  # of the map that it flattens


def to_keras(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return a tensor of this name in PyTorch's layout as Keras has it."""
    if name.endswith(FC6):
        maps = tensor.reshape(len(tensor), -1, ROI_SIZE, ROI_SIZE)
        return maps.transpose(2, 3, 1, 0).reshape(-1, len(tensor))
    if tensor.ndim == 4:
        return tensor.transpose(2, 3, 1, 0)
    return tensor.T


def from_keras(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return a tensor as PyTorch has it, contiguous; the inverse of `to_keras`.

    Args:
        name: of the tensor in the PyTorch network.
    """
    if name.endswith(FC6):
        outputs = tensor.shape[1]
        maps = tensor.reshape(ROI_SIZE, ROI_SIZE, -1, outputs)
        return np.ascontiguousarray(maps.transpose(3, 2, 0, 1).reshape(outputs, -1))
    moved = tensor.transpose(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T
    return np.ascontiguousarray(moved).reshape(moved.shape)  # a scalar stays one
