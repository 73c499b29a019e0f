"""How other projects lay out the numbers of a layer, and how they become ours; nothing here knows a file.

Ours is torch's: convolutions (out, in, rows, columns), dense layers (out, in), RoI features flattened channel, row,
column, deltas (dx, dy, dw, dh), anchor k = size_index * ratios + ratio_index. The functions for Keras take and return
NumPy arrays, the others arrays of NumPy or of torch.
"""

from typing import Any

import numpy as np

# VGG-16's layers as torchvision numbers them and as Keras calls them.
VGG_LAYERS = {
    f"features.{start + 2 * index}": f"block{block}_conv{index + 1}"
    for block, (start, convolutions) in enumerate(((0, 2), (5, 2), (10, 3), (17, 3), (24, 3)), 1)
    for index in range(convolutions)
} | {"classifier.0": "fc1", "classifier.3": "fc2"}


def conv_from_keras(kernel: np.ndarray) -> np.ndarray:
    """Return (out, in, rows, columns) of a convolution's kernel (rows, columns, in, out)."""
    return kernel.transpose(3, 2, 0, 1)


def conv_to_keras(weight: np.ndarray) -> np.ndarray:
    """Return (rows, columns, in, out); the inverse of `conv_from_keras`."""
    return weight.transpose(2, 3, 1, 0)


def dense_from_keras(kernel: np.ndarray) -> np.ndarray:
    """Return (out, in) of a dense layer's kernel (in, out)."""
    return kernel.T


def dense_to_keras(weight: np.ndarray) -> np.ndarray:
    """Return (in, out); the inverse of `dense_from_keras`."""
    return weight.T


def flattened_from_keras(kernel: np.ndarray, size: int) -> np.ndarray:
    """Return (out, in) of a dense layer's kernel (in, out) whose input is a map of size x size cells, flattened.

    Keras flattens row, column, channel; we flatten channel, row, column.
    """
    outputs = kernel.shape[1]
    return kernel.reshape(size, size, -1, outputs).transpose(3, 2, 0, 1).reshape(outputs, -1)


def flattened_to_keras(weight: np.ndarray, size: int) -> np.ndarray:
    """Return (in, out); the inverse of `flattened_from_keras`."""
    outputs = len(weight)
    return weight.reshape(outputs, -1, size, size).transpose(2, 3, 1, 0).reshape(-1, outputs)


def swap_delta_axes(rows: Any) -> Any:
    """Return rows (4n, ...) of n times (dy, dx, dh, dw) as n times (dx, dy, dw, dh), or the other way round."""
    return rows.reshape(-1, 4, *rows.shape[1:])[:, [1, 0, 3, 2]].reshape(rows.shape)


def anchors_from_ratio_major(rows: Any, ratios: int, sizes: int) -> Any:
    """Return rows (ratios * sizes * n, ...), n an anchor k = ratio_index * sizes + size_index, in our order."""
    return rows.reshape(ratios, sizes, -1, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)


def logit_from_two_way(rows: Any) -> Any:
    """Return rows (n, ...) of a logit for rows (2n, ...) of background and foreground by turns, fed to a softmax.

    The softmax of two values depends on their difference alone: p = sigmoid(foreground - background).
    """
    return rows[1::2] - rows[0::2]
