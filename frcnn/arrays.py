"""Two conventions of arrays, each in one place: rows of many images in one array, and the order of a size."""

from collections.abc import Sequence

import numpy as np


def offsets(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return (N + 1,) int64 for N counts: image i owns rows offsets[i] to offsets[i + 1], as in CSR."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def size_of(image: np.ndarray) -> tuple[int, int]:
    """Return (width, height) in pixels of an image (H, W, ...)."""
    return image.shape[1], image.shape[0]
