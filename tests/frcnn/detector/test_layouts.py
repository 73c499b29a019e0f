"""The layouts of other projects' layers, on sizes at which every number can be followed."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from frcnn.detector import layouts


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_convolution_of_keras(random: np.random.Generator) -> None:
    kernel, pixels = random.normal(size=(3, 3, 2, 5)), random.normal(size=(4, 6, 2))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(pixels, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
    expected = np.einsum("yxcij,ijco->yxo", windows, kernel)
    weight = torch.from_numpy(layouts.conv_from_keras(kernel).copy())
    found = F.conv2d(torch.from_numpy(pixels).permute(2, 0, 1)[None], weight, padding=1)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(layouts.conv_to_keras(layouts.conv_from_keras(kernel)), kernel)


def test_dense_layers_of_keras(random: np.random.Generator) -> None:
    pooled = random.normal(size=(3, 2, 2, 5))  # RoIs, rows, columns, channels
    kernel, second = random.normal(size=(20, 7)), random.normal(size=(7, 4))
    expected = pooled.reshape(3, -1) @ kernel @ second
    ours = pooled.transpose(0, 3, 1, 2).reshape(3, -1)
    weight = layouts.flattened_from_keras(kernel, 2)
    np.testing.assert_allclose(ours @ weight.T @ layouts.dense_from_keras(second).T, expected)
    np.testing.assert_array_equal(layouts.flattened_to_keras(weight, 2), kernel)
    np.testing.assert_array_equal(layouts.dense_to_keras(layouts.dense_from_keras(second)), second)


@pytest.mark.parametrize("array", [np.array, lambda rows: torch.tensor(rows)], ids=["numpy", "torch"])
def test_deltas_anchors_and_two_way_scores(array) -> None:
    deltas = array([f for k in range(2) for f in (10 * k + 0, 10 * k + 1, 10 * k + 2, 10 * k + 3)])  # dy, dx, dh, dw
    assert layouts.swap_delta_axes(deltas).tolist() == [1, 0, 3, 2, 11, 10, 13, 12]
    # Two ratios and three sizes, two rows an anchor: ratio * 100 + size * 10 + row.
    rows = array([100 * ratio + 10 * size + row for ratio in range(2) for size in range(3) for row in range(2)])
    expected = [100 * ratio + 10 * size + row for size in range(3) for ratio in range(2) for row in range(2)]
    assert layouts.anchors_from_ratio_major(rows, 2, 3).tolist() == expected
    stacked = layouts.anchors_from_ratio_major(rows[:, None], 2, 3)
    assert tuple(stacked.shape) == (12, 1)
    assert stacked[:, 0].tolist() == expected
    assert layouts.logit_from_two_way(array([1.0, 5.0, 2.0, 0.5])).tolist() == [4.0, -1.5]


def test_the_names_of_vggs_layers() -> None:
    assert len(layouts.VGG_LAYERS) == 15
    assert layouts.VGG_LAYERS["features.0"] == "block1_conv1"
    assert layouts.VGG_LAYERS["features.14"] == "block3_conv3"
    assert layouts.VGG_LAYERS["features.24"] == "block5_conv1"
    assert layouts.VGG_LAYERS["classifier.3"] == "fc2"
