"""Which images make up the batches of an epoch; without torch, since `frcnn check` counts their padding."""

import numpy as np

from frcnn.data.resizing.sizes import order_by_shape
from frcnn.params.training import Train

SHUFFLE = 0  # a stream of random numbers
POOL = 4  # batches: less padding than 5% of VOC's pixels at batch 16, and neighbors still change by chance


def plan_epoch(size: np.ndarray, train: Train, indices: np.ndarray, phase: int, epoch: int) -> list[np.ndarray]:
    """Return the image indices of each batch of an epoch; every image is used once.

    Images are shuffled and, up to `POOL` batches of one orientation at a time, batched with those of about their shape,
    so that little is padded. The last batch of each orientation may be smaller; batches of one are a plain shuffle.

    Args:
        size: (N, 2), (width, height) of all images in resized pixels.
        indices: of those to use.
    """
    rng = np.random.default_rng((train.seed, SHUFFLE, phase, epoch))
    shuffled = rng.permutation(indices)
    if train.batch_size == 1:
        return list(shuffled[:, None])
    upright = size[shuffled, 1] > size[shuffled, 0]
    batches = []
    for group in (shuffled[~upright], shuffled[upright]):
        batches_per_pool = min(POOL, max(1, len(group) // (POOL * train.batch_size)))  # few images: few neighbors
        for pool in _cut(group, batches_per_pool * train.batch_size):
            batches += _cut(pool[order_by_shape(size[pool])], train.batch_size)
    return [batches[i] for i in rng.permutation(len(batches))]


def _cut(indices: np.ndarray, length: int) -> list[np.ndarray]:
    return [indices[i : i + length] for i in range(0, len(indices), length)]
