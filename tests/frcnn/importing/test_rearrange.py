"""The order of the outputs of other projects' detectors, on sizes at which every number can be followed."""

import numpy as np
import pytest
import torch

from frcnn.importing.rearrange import anchors_from_ratio_major, logit_from_two_way, swap_delta_axes


@pytest.mark.parametrize("array", [np.array, lambda rows: torch.tensor(rows)], ids=["numpy", "torch"])
def test_deltas_anchors_and_two_way_scores(array) -> None:
    deltas = array([f for k in range(2) for f in (10 * k + 0, 10 * k + 1, 10 * k + 2, 10 * k + 3)])  # dy, dx, dh, dw
    assert swap_delta_axes(deltas).tolist() == [1, 0, 3, 2, 11, 10, 13, 12]
    # Two ratios and three sizes, two rows an anchor: ratio * 100 + size * 10 + row.
    rows = array([100 * ratio + 10 * size + row for ratio in range(2) for size in range(3) for row in range(2)])
    expected = [100 * ratio + 10 * size + row for size in range(3) for ratio in range(2) for row in range(2)]
    assert anchors_from_ratio_major(rows, 2, 3).tolist() == expected
    stacked = anchors_from_ratio_major(rows[:, None], 2, 3)
    assert tuple(stacked.shape) == (12, 1)
    assert stacked[:, 0].tolist() == expected
    assert logit_from_two_way(array([1.0, 5.0, 2.0, 0.5])).tolist() == [4.0, -1.5]
