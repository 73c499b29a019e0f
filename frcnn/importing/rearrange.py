"""How other projects order the outputs of a detector, and how they become ours; nothing here knows a file.

Ours: deltas (dx, dy, dw, dh), anchor k = size_index * ratios + ratio_index, one logit of objectness. The functions take
and return arrays of NumPy or of torch.
"""

from typing import Any


def swap_delta_axes(rows: Any) -> Any:
    """Return rows (4n, ...) of n times (dy, dx, dh, dw) as n times (dx, dy, dw, dh), or the other way round."""
    return rows.reshape(-1, 4, *rows.shape[1:])[:, [1, 0, 3, 2]].reshape(rows.shape)


def anchors_from_ratio_major(rows: Any, ratios: int, sizes: int) -> Any:
    """Return rows (ratios * sizes * n, ...), n per anchor k = ratio_index * sizes + size_index, in our order."""
    return rows.reshape(ratios, sizes, -1, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)


def logit_from_two_way(rows: Any) -> Any:
    """Return rows (n, ...) of a logit for rows (2n, ...), by turns the background's and the foreground's of a softmax.

    The softmax of two values depends on their difference alone: p = sigmoid(foreground - background).
    """
    return rows[1::2] - rows[0::2]
