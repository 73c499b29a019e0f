"""How large a picture becomes, and how its boxes follow. Sizes are (width, height) in pixels of the upright picture."""

import numpy as np

from frcnn.params import Data

LEAST_SIDE = 16  # px, the stride of the networks


def resized_size(size: tuple[int, int], data: Data) -> tuple[int, int]:
    """Return the size with the short side at `min_size` and the long side at most `max_size`.

    No side is below `LEAST_SIDE`, so that every feature map has a cell, however flat the picture.
    """
    factor = _factor(size, data)
    width, height = (int(side * factor) if data.rounding == "down" else round(side * factor) for side in size)
    return max(LEAST_SIDE, width), max(LEAST_SIDE, height)


def box_scale(size: tuple[int, int], data: Data) -> np.ndarray:
    """Return (4,) float64: what xyxy boxes of a picture of this size are multiplied by when it is resized.

    Each axis has its own ratio of sizes; in the convention `reference` both have the factor before rounding.
    """
    if data.box_convention == "reference":
        return np.full(4, _factor(size, data))
    resized = resized_size(size, data)
    return np.array([resized[0] / size[0], resized[1] / size[1]] * 2)


def _factor(size: tuple[int, int], data: Data) -> float:
    factor = data.min_size / min(size)
    return factor if data.max_size is None else min(factor, data.max_size / max(size))


def by_shape(sizes: np.ndarray) -> np.ndarray:
    """Return the order (N,) of pictures of sizes (N, 2), (width, height), from upright to wide; it keeps ties.

    Neighbours in it have about the same shape, so a batch of them needs little padding.
    """
    return np.argsort(sizes[:, 0] / sizes[:, 1], kind="stable")
