"""Minibatches of anchors."""

import numpy as np
import pytest

from frcnn.anchors.label import Labels
from frcnn.params.training import RPNTraining
from frcnn.training.minibatch import sample_anchors


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [
        (0, 0, (0, 0)),
        (0, 500, (0, 256)),
        (10, 500, (10, 246)),
        (300, 500, (128, 128)),
        (300, 20, (128, 20)),
    ],
    ids=["nothing", "no objects", "few", "many", "few negatives"],
)
def test_sample_anchors(positives: int, negatives: int, expected: tuple[int, int]) -> None:
    """Positive are the anchors 0, 3, 6, ..., each with its own deltas; negative the last of 1,600."""
    positive_index = np.arange(0, 3 * positives, 3, np.int32)
    negative = np.arange(1600) >= 1600 - negatives
    deltas = np.arange(4 * positives, dtype=np.float32).reshape(-1, 4)
    labels = Labels(np.zeros((1, 4), np.float32), positive_index, deltas, np.packbits(negative))
    settings = RPNTraining(batch_size=256, positive_fraction=0.5)
    index, kind, chosen_deltas = sample_anchors(labels, settings, np.random.default_rng(0))
    assert (len(index), len(kind), chosen_deltas.shape) == (256, 256, (256, 4))
    chosen, background = index[kind == 1], index[kind == 0]
    assert (len(chosen), len(background)) == expected
    assert len(set(chosen.tolist())) == len(chosen)
    assert len(set(background.tolist())) == len(background)
    assert set(chosen.tolist()) <= set(positive_index.tolist())
    assert negative[background].all()
    np.testing.assert_array_equal(kind, [1] * expected[0] + [0] * expected[1] + [-1] * (256 - sum(expected)))
    np.testing.assert_array_equal(chosen_deltas[: len(chosen)], deltas[chosen // 3])
    assert not chosen_deltas[len(chosen) :].any()
