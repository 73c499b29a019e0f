"""What the coordinates in annotation files mean: the one place that knows.

Inside the project boxes are xyxy, continuous pixels: width = x2 - x1, and the image spans [0, W] x [0, H].
"""

from dataclasses import dataclass

import numpy as np

from frcnn import boxes


@dataclass(frozen=True)
class BoxConvention:
    """One meaning of xmin, ymin, xmax, ymax (`data.box_convention`).

    Attributes:
        offsets: what is added to the four numbers as written.
        last: 1 where boxes hold indices of pixels, 0..W-1, instead of continuous coordinates, 0..W.
        one_factor: when a picture is resized, both axes have the factor before rounding, not each its own.
    """

    offsets: tuple[int, int, int, int]
    last: int = 0
    one_factor: bool = False

    def read(self, corners: np.ndarray, continuous: bool = False) -> np.ndarray:
        """Return boxes (..., 4) float64 for corners as they are written in a file.

        Args:
            corners: xmin, ymin, xmax, ymax.
            continuous: whether the file itself says that they are continuous pixels, whatever the convention.
        """
        return corners + ((0, 0, -self.last, -self.last) if continuous else self.offsets)

    def mirror(self, boxes_xyxy: np.ndarray, width: int) -> np.ndarray:
        """Return boxes (n, 4) flipped left to right in an image of this width."""
        return boxes.flip(boxes_xyxy, width - self.last)

    def scale(self, original: tuple[int, int], resized: tuple[int, int], factor: float) -> np.ndarray:
        """Return (4,) float64, by which boxes are multiplied when a picture is resized.

        Args:
            original: (width, height) of the picture.
            resized: after resizing.
            factor: of both sides, before they were rounded.
        """
        if self.one_factor:
            return np.full(4, factor)
        return np.array([resized[0] / original[0], resized[1] / original[1]] * 2)

    def limit(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the largest x and y of a box in an image of size (width, height)."""
        return size[0] - self.last, size[1] - self.last


BOX_CONVENTIONS = {
    "voc": BoxConvention((-1, -1, 0, 0)),  # 1-based, inclusive
    "continuous": BoxConvention((0, 0, 0, 0)),  # as written
    "reference": BoxConvention((-1, -1, -1, -1), last=1, one_factor=True),  # 0-based pixels, taken as continuous
}
