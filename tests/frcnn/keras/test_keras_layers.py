"""Convolutions pad, and batch norms count, as torch's; the package says what it lacks."""

import importlib
import sys

import keras
import numpy as np
import pytest
import torch

import frcnn.keras
from frcnn.detector.layouts import to_keras
from frcnn.errors import UserError
from frcnn.keras.layers import BatchNorm, Conv
from tests.factories import nhwc

pytestmark = pytest.mark.tensorflow


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(9, 12), (8, 7), (1, 2)])
def test_convolutions(size: int, stride: int, shape: tuple[int, int]) -> None:
    twin = torch.nn.Conv2d(3, 4, size, stride, size // 2)
    layer = Conv(3, 4, size, "conv", stride=stride)
    layer.weight.assign(to_keras("weight", twin.weight.detach().numpy()))
    layer.bias.assign(twin.bias.detach().numpy())
    maps = torch.randn(2, 3, *shape)
    np.testing.assert_allclose(layer(nhwc(maps)), nhwc(twin(maps)), atol=1e-5)


def test_a_batch_norm_keeps_torch_s_statistics_also_of_few_cells_and_of_none() -> None:
    twin, layer = torch.nn.BatchNorm2d(5), BatchNorm(5, "norm", trained=True)
    for count in (1, 0, 2):  # 2 x 2 cells each
        maps = torch.randn(count, 5, 2, 2) * 3 + 1
        np.testing.assert_allclose(layer(nhwc(maps), training=True), nhwc(twin(maps)), atol=1e-5)
        assert layer.num_batches_tracked.numpy() == twin.num_batches_tracked
        np.testing.assert_allclose(layer.running_mean.numpy(), twin.running_mean, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(layer.running_var.numpy(), twin.running_var, rtol=1e-5)
    np.testing.assert_allclose(layer(nhwc(maps)), nhwc(twin.eval()(maps)), atol=1e-5)


def test_a_frozen_batch_norm_stays_what_it_is_in_training() -> None:
    layer, maps = BatchNorm(5, "norm", trained=False), np.full((1, 2, 2, 5), 3, np.float32)
    np.testing.assert_allclose(layer(maps, training=True), maps, rtol=1e-5)
    assert layer.num_batches_tracked.numpy() == 0
    assert not layer.trainable_variables


@pytest.mark.parametrize("missing", ["tensorflow", "keras"])
def test_the_extra_is_named_where_it_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"pip install 'frcnn\[tensorflow\]'"):
        importlib.reload(frcnn.keras)


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UserError, match="jax.*KERAS_BACKEND=tensorflow"):
        importlib.reload(frcnn.keras)
