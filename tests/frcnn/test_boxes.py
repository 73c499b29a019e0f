"""Box arithmetic, the same for NumPy and torch."""

import numpy as np
import pytest
import torch

from frcnn import boxes

RNG = np.random.default_rng(0)


def random_boxes(count: int) -> np.ndarray:
    """Return boxes (count, 4) float32 of positive size within about 800 px."""
    corner = RNG.uniform(0, 500, (count, 2))
    return np.concatenate([corner, corner + RNG.uniform(1, 300, (count, 2))], 1).astype(np.float32)


def test_iou_of_known_pairs() -> None:
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [20, 20, 30, 30], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(boxes.iou(a, b), [[1, 1 / 3, 0, 0, 0]], rtol=1e-6)


def test_iou_of_no_boxes() -> None:
    assert boxes.iou(random_boxes(3), np.zeros((0, 4), np.float32)).shape == (3, 0)


def test_encode_and_decode_are_inverse() -> None:
    targets, references = random_boxes(500), random_boxes(500)
    decoded = boxes.decode(boxes.encode(targets, references), references, clamp=False)
    np.testing.assert_allclose(decoded, targets, atol=2e-3)


def test_decode_gives_the_published_numbers() -> None:
    # Center (200, 100), size (80, 50), deltas (dx, dy, dw, dh) = (-0.2, 0.1, 0.4, 0.3).
    reference = np.array([160, 75, 240, 125], np.float64)
    deltas = np.array([-0.2, 0.1, 0.4, 0.3])
    np.testing.assert_allclose(
        boxes.decode(deltas, reference, clamp=False), [124.32701, 71.25353, 243.67299, 138.74647], atol=1e-5
    )
    np.testing.assert_allclose(
        boxes.decode(deltas * [0.1, 0.1, 0.2, 0.2], reference, clamp=False),
        [155.06852, 73.95409, 241.73148, 127.04591],
        atol=1e-5,
    )


def test_decode_limits_the_growth() -> None:
    reference = np.array([[0, 0, 16, 16]], np.float32)
    grown = boxes.decode(np.array([[0, 0, 50, 50]], np.float32), reference)
    np.testing.assert_allclose(grown[0, 2:] - grown[0, :2], [1000, 1000], rtol=1e-4)
    with np.errstate(over="ignore"):
        unlimited = boxes.decode(np.array([[0, 0, 500, 500]], np.float32), reference, clamp=False)
    assert np.isinf(unlimited).any()


def test_clip_and_flip() -> None:
    box = np.array([[-5, 10, 120, 40]], np.float32)
    np.testing.assert_array_equal(boxes.clip(box, 100, 30), [[0, 10, 100, 30]])
    np.testing.assert_array_equal(boxes.flip(box, 100), [[-20, 10, 105, 40]])
    np.testing.assert_array_equal(boxes.flip(boxes.flip(box, 100), 100), box)


@pytest.mark.parametrize("function", [boxes.iou, boxes.encode, boxes.decode], ids=lambda function: function.__name__)
def test_numpy_and_torch_agree(function) -> None:
    a, b = random_boxes(50), random_boxes(50)
    if function is boxes.decode:
        a = (a / 800).astype(np.float32)
    ours = function(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(ours, function(a, b), rtol=2e-5, atol=1e-4)
