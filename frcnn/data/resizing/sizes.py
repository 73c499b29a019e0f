"""How large a picture becomes, and how its boxes follow. Sizes are (width, height) in pixels of the upright picture."""

import numpy as np

from frcnn import boxes
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
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
    """Return (4,) float64, by which xyxy boxes of a picture of this size are multiplied when it is resized."""
    return BOX_CONVENTIONS[data.box_convention].scale(size, resized_size(size, data), _factor(size, data))


def box_limit(size: tuple[int, int], data: Data) -> tuple[float, float]:
    """Return the largest x and y, in resized pixels, of a box of a picture of this size."""
    width, height = BOX_CONVENTIONS[data.box_convention].limit(size) * box_scale(size, data)[:2]
    return float(width), float(height)


def boxes_to_original(resized: np.ndarray, original: tuple[int, int], data: Data) -> np.ndarray:
    """Return boxes (n, 4) float32 in pixels of the original picture, clipped to it, for boxes in resized pixels."""
    return boxes.clip(resized / box_scale(original, data), *map(float, original)).astype(np.float32)


def order_by_shape(sizes: np.ndarray) -> np.ndarray:
    """Return the order (N,) of pictures of sizes (N, 2), (width, height), from upright to wide; it keeps ties.

    Neighbors in it have about the same shape, so a batch of them needs little padding.
    """
    return np.argsort(sizes[:, 0] / sizes[:, 1], kind="stable")


def _factor(size: tuple[int, int], data: Data) -> float:
    factor = data.min_size / min(size)
    return factor if data.max_size is None else min(factor, data.max_size / max(size))
