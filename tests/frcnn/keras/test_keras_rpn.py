"""The RPN's losses, proposals and NMS equal torch's, to the bit where only comparisons decide."""

import numpy as np
import pytest
import tensorflow as tf
import torch
import torchvision

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid, proposing_anchors
from frcnn.keras.nms import nms
from frcnn.keras.rpn import generate_proposals, rpn_losses
from frcnn.params import Anchors, Model, Proposals
from frcnn.params.training import Postprocessing
from frcnn.pytorch import rpn as torch_side
from tests.factories import one_map

pytestmark = pytest.mark.tensorflow

SHAPES = Anchors(anchor_sizes=(24.0, 48.0))
ANCHORS = anchor_grid(one_map(6, 8), SHAPES)
SETTINGS = Postprocessing(pre_nms_topk=150, post_nms_topk=60)
MODEL = Model(proposals=Proposals(min_size=4.0))


def random_boxes(seed: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 12, (*shape, 2))
    return np.concatenate([low, low + rng.integers(1, 12, (*shape, 2))], -1).astype(np.float32)


def test_box_arithmetic_has_torch_s_bits() -> None:
    a, b = random_boxes(0, 50) * np.float32(1.37), random_boxes(1, 50)
    deltas = np.random.default_rng(2).normal(0, 3, (50, 4)).astype(np.float32)
    for function, arguments in (
        (boxes.iou, (a, b)),
        (boxes.clip, (a, 7, 9.5)),
        (boxes.flip, (a, 20.0)),
        (boxes.encode, (a, b)),
        (boxes.decode, (deltas, b)),
    ):
        tensors = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in arguments]
        constants = [tf.constant(x) if isinstance(x, np.ndarray) else x for x in arguments]
        # Logarithms and exponentials may differ in the last bit.
        ulps = 2 if function in (boxes.encode, boxes.decode) else 0
        np.testing.assert_allclose(function(*constants), function(*tensors), rtol=ulps * 2e-7, atol=ulps * 1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.25, 0.3, 0.5, 0.6, 0.7, 1.0])
def test_nms_is_torchvision_s(threshold: float) -> None:
    """Boxes of whole numbers have many IoUs that equal the threshold, and few values make scores tie."""
    for seed in range(20):
        found, scores = random_boxes(seed, 150), np.random.default_rng(seed).integers(0, 20, 150).astype(np.float32)
        expected = torchvision.ops.nms(torch.from_numpy(found), torch.from_numpy(scores), threshold)
        np.testing.assert_array_equal(nms(found, scores, threshold, 150), expected)
        np.testing.assert_array_equal(nms(found, scores, threshold, 9), expected[:9])


def test_losses_of_images_with_and_without_objects() -> None:
    rng = np.random.default_rng(0)
    logits, deltas = rng.normal(size=(3, 40)).astype(np.float32), rng.normal(size=(3, 40, 4)).astype(np.float32)
    index, targets = rng.integers(0, 40, (3, 12)), rng.normal(size=(3, 12, 4)).astype(np.float32)
    labels = np.array([[1, 1, 1] + [0] * 6 + [-1] * 3, [0] * 12, [-1] * 12])
    leaves = [torch.from_numpy(x).requires_grad_() for x in (logits, deltas)]
    expected = torch_side.rpn_losses(*leaves, *map(torch.from_numpy, (index, labels, targets)), 3)
    torch.stack(expected).sum().backward()
    targets[labels != 1] = np.nan  # padding may be anything
    variables = [tf.Variable(x) for x in (logits, deltas)]
    with tf.GradientTape() as tape:
        found = rpn_losses(*variables, *map(tf.constant, (index, labels, targets)), 3)
        total = tf.reduce_sum(found)
    np.testing.assert_allclose(found, torch.stack(expected).detach(), rtol=1e-6)
    assert not np.any(np.stack(found)[:, 2])
    for gradient, leaf in zip(tape.gradient(total, variables), leaves, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), leaf.grad, atol=1e-7)


@pytest.mark.parametrize("clamp", [True, False])
def test_proposals_of_the_same_scores_are_the_same_in_the_same_order(clamp: bool) -> None:
    """Scores tie, the second image is smaller than the padded grid, the third has nowhere to propose from."""
    rng = np.random.default_rng(0)
    count = len(ANCHORS)
    logits = rng.integers(-20, 20, (3, count)).astype(np.float32)
    deltas = rng.normal(0, 0.4, (3, count, 4)).astype(np.float32)
    logits[0, 5], deltas[0, 9] = np.inf, np.nan
    sizes = [(128, 96), (70, 50), (128, 96)]
    allowed = proposing_anchors(one_map(6, 8), [((6, 8),), ((3, 4),), ((0, 0),)], sizes, SHAPES, False)
    model = MODEL.model_copy(update={"delta_clamp": clamp})
    expected, wanted = torch_side.generate_proposals(
        *map(torch.tensor, (logits, deltas, ANCHORS)), sizes, torch.from_numpy(allowed), SETTINGS, model
    )
    generate = tf.function(lambda *tensors: generate_proposals(*tensors, SETTINGS, model))
    found, real = generate(logits, deltas, ANCHORS, np.array(sizes), allowed)
    assert wanted.sum(1).tolist()[2] == 0
    assert wanted.sum() > 40
    np.testing.assert_array_equal(real, wanted)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_more_proposals_wanted_than_there_are_anchors() -> None:
    logits, deltas = np.zeros((1, len(ANCHORS)), np.float32), np.zeros((1, len(ANCHORS), 4), np.float32)
    settings = Postprocessing(pre_nms_topk=5000, post_nms_topk=3000)
    model = Model(proposals=Proposals(min_size=4.0, nms_threshold=1.0))
    allowed = np.ones((1, len(ANCHORS)), bool)
    found, real = generate_proposals(logits, deltas, ANCHORS, np.array([(128, 96)]), allowed, settings, model)
    assert found.shape == (1, 3000, 4)
    assert real.numpy().sum() == len(ANCHORS)
