"""The layouts of Keras's layers, on sizes at which every number can be followed."""

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
    weight = torch.from_numpy(layouts.from_keras("x.weight", kernel))
    found = F.conv2d(torch.from_numpy(pixels).permute(2, 0, 1)[None], weight, padding=1)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_array_equal(layouts.to_keras("x.weight", weight.numpy()), kernel)


def test_dense_layers_of_keras(random: np.random.Generator) -> None:
    pooled = random.normal(size=(3, 7, 7, 5))  # RoIs, rows, columns, channels
    kernel, second = random.normal(size=(245, 6)), random.normal(size=(6, 4))
    expected = pooled.reshape(3, -1) @ kernel @ second
    ours = pooled.transpose(0, 3, 1, 2).reshape(3, -1)
    fc6, fc7 = "head.classifier.0.weight", "head.classifier.3.weight"
    weight = layouts.from_keras(fc6, kernel)
    np.testing.assert_allclose(ours @ weight.T @ layouts.from_keras(fc7, second).T, expected)
    np.testing.assert_array_equal(layouts.to_keras(fc6, weight), kernel)
    np.testing.assert_array_equal(layouts.to_keras(fc7, layouts.from_keras(fc7, second)), second)


def test_the_names_of_vggs_layers() -> None:
    assert len(layouts.VGG_LAYERS) == 15
    assert layouts.VGG_LAYERS["features.0"] == "block1_conv1"
    assert layouts.VGG_LAYERS["features.14"] == "block3_conv3"
    assert layouts.VGG_LAYERS["features.24"] == "block5_conv1"
    assert layouts.VGG_LAYERS["classifier.3"] == "fc2"
