"""RoIAlign, RoIPool and the quick samples equal torchvision's operators, values and gradients."""

import numpy as np
import pytest
import tensorflow as tf
import torch
import torchvision

from frcnn.keras.roi_max_pool import _bin_edges, _round
from frcnn.keras.roi_pool import pool_rois
from frcnn.params import RoIPool
from frcnn.pytorch import roi_pool as torch_side

pytestmark = pytest.mark.tensorflow

STRIDE = 16
GRIDS = np.array([[20, 31], [17, 25]], np.int32)  # the second image is padded
FEATURES = np.random.default_rng(0).standard_normal((2, 20, 31, 6)).astype(np.float32)


def random_rois(count: int, seed: int = 1, beyond: float = 0) -> np.ndarray:
    """Return (2, count, 4) float32 in pixels, up to the images' borders or `beyond` pixels outside."""
    rng = np.random.default_rng(seed)
    rois = []
    for rows, columns in GRIDS:
        extent = np.array([columns, rows]) * STRIDE + 15  # pixels that no cell stands for
        low = rng.uniform(-beyond, extent, (count, 2))
        high = np.minimum(low + rng.exponential(0.3, (count, 2)) * extent, extent + beyond)
        high[: count // 4] = low[: count // 4] + rng.uniform(0, 3 * STRIDE, (count // 4, 2))  # small ones
        rois.append(np.concatenate([low, np.maximum(high, low)], 1))
        rois[-1][0] = [0, 0, *extent]
        rois[-1][1] = [8, 24, 40, 56]  # halves of a cell
        rois[-1][2] = [48, 48, 48, 48]
        rois[-1][3] = [*(extent - 1), *extent]
    return np.stack(rois).astype(np.float32)


def pool_by_tensorflow(
    rois: np.ndarray, weights: np.ndarray, maps: np.ndarray = FEATURES, **options
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pooled features (2, S, size, size, D) and the gradient of their weighted sum."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 6)), tf.TensorSpec((None, None, 4))])
    def run(features: tf.Tensor, rois: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = pool_rois(features, tf.constant(GRIDS), rois, RoIPool(**options))
            assert pooled.shape[2:] == (options["size"], options["size"], 6)
            total = tf.reduce_sum(pooled * weights)
        return pooled, tape.gradient(total, features)

    pooled, gradient = run(maps, rois)
    return pooled.numpy(), gradient.numpy()


def pool_by_torch(
    rois: np.ndarray,
    weights: np.ndarray,
    maps: np.ndarray = FEATURES,
    *,
    op: str,
    clip: bool,
    size: int,
    sampling_ratio: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the same by torchvision's operators, on each image's own part of the map."""
    features = torch.from_numpy(maps).permute(0, 3, 1, 2).requires_grad_()
    pooled = []
    for image, (rows, columns), boxes in zip(features, GRIDS.tolist(), torch.from_numpy(rois), strict=True):
        own = image[None, :, :rows, :columns]
        if clip:
            last = 1 if op == "pool" else 0
            far = torch.tensor([columns - last, rows - last] * 2) * STRIDE
            boxes = torch.minimum(boxes.clamp(min=0), far)
        if op == "pool":
            pooled.append(torchvision.ops.roi_pool(own, [boxes], size, 1 / STRIDE))
        else:
            pooled.append(torchvision.ops.roi_align(own, [boxes], size, 1 / STRIDE, sampling_ratio, aligned=True))
    found = torch.stack(pooled).permute(0, 1, 3, 4, 2)
    [gradient] = torch.autograd.grad((found * torch.from_numpy(weights)).sum(), features)
    return found.detach().numpy(), gradient.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    ("op", "size", "sampling_ratio"),
    [
        ("align", 7, 2),
        ("align", 3, 1),
        ("pool", 7, 2),
        ("pool", 1, 2),
        ("pool", 5, 2),
    ],
)
def test_values_and_gradients_equal_torchvision(op: str, size: int, sampling_ratio: int, clip: bool) -> None:
    rois = random_rois(60, beyond=0 if clip else 60)
    weights = np.random.default_rng(2).standard_normal((2, 60, size, size, 6)).astype(np.float32)
    options = {"op": op, "size": size, "sampling_ratio": sampling_ratio, "clip": clip}
    pooled, gradient = pool_by_tensorflow(rois, weights, **options)
    expected, expected_gradient = pool_by_torch(rois, weights, **options)
    np.testing.assert_allclose(pooled, expected, atol=0 if op == "pool" else 1e-5, rtol=0)
    np.testing.assert_allclose(gradient, expected_gradient, atol=2e-5, rtol=1e-5)
    assert (op == "pool" and not clip) <= (expected == 0).any()  # empty bins are among them


def test_of_equal_cells_the_first_has_roi_pools_gradient() -> None:
    rois = random_rois(60)
    maps = np.trunc(FEATURES) + 0.0  # most are 0, as after a ReLU; -0.0 too becomes 0.0
    weights = np.random.default_rng(2).standard_normal((2, 60, 7, 7, 6)).astype(np.float32)
    options = {"op": "pool", "size": 7, "sampling_ratio": 2, "clip": True}
    _, gradient = pool_by_tensorflow(rois, weights, maps, **options)
    _, expected = pool_by_torch(rois, weights, maps, **options)
    np.testing.assert_allclose(gradient, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("clip", [True, False])
def test_crop_equals_the_torch_side(clip: bool) -> None:
    rois = random_rois(60, beyond=60)
    maps = FEATURES / 4
    weights = np.random.default_rng(2).standard_normal((2, 60, 7, 7, 6)).astype(np.float32)
    options = {"op": "crop", "size": 7, "sampling_ratio": 2, "clip": clip}
    pooled, gradient = pool_by_tensorflow(rois, weights, maps, **options)
    features = torch.from_numpy(maps).permute(0, 3, 1, 2).requires_grad_()
    expected = torch_side.pool_rois(features, GRIDS.tolist(), torch.from_numpy(rois), RoIPool(**options))
    expected = expected.permute(0, 1, 3, 4, 2)
    np.testing.assert_allclose(pooled, expected.detach().numpy(), rtol=0, atol=1e-5)
    [expected_gradient] = torch.autograd.grad((expected * torch.from_numpy(weights)).sum(), features)
    np.testing.assert_allclose(gradient, expected_gradient.permute(0, 2, 3, 1).numpy(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("op", ["align", "pool", "crop"])
def test_one_cell_and_no_rois(op: str) -> None:
    options = {"op": op, "size": 2, "sampling_ratio": 2, "clip": True}
    map_, grid, roi = tf.fill([1, 1, 1, 3], 2.0), tf.constant([[1, 1]]), tf.constant([[[0, 0, 20.0, 9]]])
    one = pool_rois(map_, grid, roi, RoIPool(**options))
    np.testing.assert_array_equal(one, np.full((1, 1, 2, 2, 3), 2.0))
    none = pool_rois(tf.constant(FEATURES), tf.constant(GRIDS), tf.zeros([2, 0, 4]), RoIPool(**options))
    assert none.shape == (2, 0, 2, 2, 6)


@pytest.mark.parametrize("size", [7, 11, 14])
def test_bins_have_the_edges_of_a_float32_quotient(size: int) -> None:
    """As torchvision's kernel computes them; a compiler that multiplies by 1 / size finds others."""
    lengths = np.arange(1, 200)
    low, high = tf.zeros([1, len(lengths)]), tf.constant(lengths[None] - 1, tf.float32)
    top, bottom = tf.function(lambda *corners: _bin_edges(*corners, tf.constant([[200]]), size))(low, high)
    step = lengths.astype(np.float32)[:, None] / np.float32(size)
    bins = np.arange(size + 1, dtype=np.float32)
    np.testing.assert_array_equal(top[0], np.floor(bins[:-1] * step))
    np.testing.assert_array_equal(bottom[0], np.ceil(bins[1:] * step))


def test_halves_are_rounded_away_from_zero() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    numbers = tf.constant([0, below, 0.5, 1.49, 1.5, 2.5, -0.49, -0.5, -1.5, -2.51])
    assert _round(numbers).numpy().tolist() == [0, 0, 1, 1, 2, 3, 0, -1, -2, -3]
