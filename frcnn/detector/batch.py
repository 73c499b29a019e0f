"""Batches of images of different sizes, as NumPy arrays, padded at the right and bottom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.arrays import size_of


@dataclass(frozen=True)
class Batch:
    """What a training step needs; N images padded to a common size.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        sizes: (width, height) of each image without padding.
        gt_boxes: (N, G, 4) float32, resized pixels; padding is 0.
        gt_labels: (N, G) int64, 1..C; padding is 0.
        anchor_index: (N, S) int64, flat index into the anchors of the padded grid.
        anchor_labels: (N, S) int64, 1 object, 0 background; padding is -1.
        anchor_deltas: (N, S, 4) float32, used where the label is 1.
        roi_priorities: (N, T + G) float32, random in [0, 1): of T proposals and the objects those of the highest
            priority are sampled.
        image_ids: N ids, for messages.
    """

    images: np.ndarray
    sizes: list[tuple[int, int]]
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    anchor_index: np.ndarray
    anchor_labels: np.ndarray
    anchor_deltas: np.ndarray
    roi_priorities: np.ndarray
    image_ids: list[str]


def pad_images(images: Sequence[np.ndarray], least: tuple[int, int] = (0, 0), divisor: int = 1) -> np.ndarray:
    """Stack images (H, W, 3) uint8 as (N, Hmax, Wmax, 3), with 0 as padding at the right and bottom.

    Args:
        least: (width, height) that the result has at least.
        divisor: of which both sides of the result are multiples.
    """
    longest = (max(sides) for sides in zip(least, *map(size_of, images), strict=True))
    width, height = (-(-side // divisor) * divisor for side in longest)
    batch = np.zeros((len(images), height, width, 3), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return batch
