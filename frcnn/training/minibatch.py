"""Sample the minibatch of anchors of an image for the RPN (Faster R-CNN, section 3.1.3)."""

import numpy as np

from frcnn.anchors.label import Labels
from frcnn.params.training import RPNTraining


def sample_anchors(
    labels: Labels, settings: RPNTraining, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose up to `batch_size` anchors of an image, at most `positive_fraction` of them positive.

    Returns:
        Index (S,) int64 into the image's own grid, labels (S,) int64 in {1, 0} and deltas (S, 4) float32 of the
        positives, S = batch_size; positives come first, padding with label -1 last.
    """
    negatives = np.flatnonzero(np.unpackbits(labels.negative_bits))
    positives, size = len(labels.positive_index), settings.batch_size
    count = min(positives, round(size * settings.positive_fraction))
    chosen = rng.choice(positives, count, replace=False) if count else np.zeros(0, np.int64)
    rest = min(len(negatives), size - count)
    background = rng.choice(negatives, rest, replace=False) if rest else negatives[:0]
    index, kind, deltas = np.zeros(size, np.int64), np.full(size, -1, np.int64), np.zeros((size, 4), np.float32)
    end = count + rest
    index[:count], index[count:end] = labels.positive_index[chosen], background
    kind[:count], kind[count:end] = 1, 0
    deltas[:count] = labels.positive_delta[chosen]
    return index, kind, deltas
