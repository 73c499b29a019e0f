"""Keep decoded and resized pictures in memory that all loading processes of a training share.

The memory is an anonymous mapping, which needs a fork. torch's shared memory would be filled at once, and in a
container it is limited to /dev/shm (64 MB by default), beyond which a process is killed.
"""

import mmap

import numpy as np

from frcnn.arrays import offsets
from frcnn.errors import UserError


class PictureCache:
    """Room for every picture, filled as they are read; processes that are forked from this one see the same."""

    def __init__(self, sizes: np.ndarray) -> None:
        """Reserve room for pictures of sizes (N, 2), (width, height); memory is taken as they come.

        Raises:
            UserError: the system does not grant so much.
        """
        self._sizes = sizes.astype(np.int64)
        self._starts = offsets(3 * self._sizes.prod(1))
        try:
            self._pixels = mmap.mmap(-1, int(self._starts[-1]))
            self._filled = mmap.mmap(-1, len(sizes))
        except OSError as error:
            raise UserError(
                f"--cache: no {self.gibibytes:.1f} GiB of memory: {error.strerror}; train without"
            ) from error

    @property
    def gibibytes(self) -> float:
        """What all pictures take."""
        return float(self._starts[-1]) / 2**30

    def get(self, index: int) -> np.ndarray | None:
        """Return a picture (H, W, 3) uint8, not to be changed, or None where it has not been put."""
        return self._room(index) if self._filled[index] else None

    def put(self, index: int, image: np.ndarray) -> None:
        """Keep a picture (H, W, 3) uint8."""
        self._room(index)[:] = image
        self._filled[index] = 1  # last, since another process may look

    def _room(self, index: int) -> np.ndarray:
        width, height = self._sizes[index]
        start, end = self._starts[index : index + 2]
        return np.frombuffer(self._pixels, np.uint8, end - start, start).reshape(height, width, 3)
