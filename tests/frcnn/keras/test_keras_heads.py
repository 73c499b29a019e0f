"""Sampled RoIs, their losses, final detections and dropout, against torch."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from frcnn.keras.backbones.vgg import VGGHead
from frcnn.keras.postprocessing import pad, select_detections
from frcnn.keras.roi_heads import roi_losses
from frcnn.keras.sampling import sample_rois
from frcnn.params import Detect
from frcnn.params.training import RoITraining
from frcnn.pytorch import postprocessing as torch_detections
from frcnn.pytorch import roi_heads as torch_heads
from frcnn.pytorch import sampling as torch_sampling

pytestmark = pytest.mark.tensorflow


def random_boxes(rng: np.random.Generator, *shape: int, extent: float = 100) -> np.ndarray:
    low = rng.uniform(0, 0.7 * extent, (*shape, 2))
    return np.concatenate([low, low + rng.uniform(5, 0.3 * extent, (*shape, 2))], -1).astype(np.float32)


@pytest.mark.parametrize("most", [0, 4])
@pytest.mark.parametrize("proposals", [0, 60])
@pytest.mark.parametrize("background_min_iou", [0.0, 0.1])
def test_the_same_priorities_choose_the_same_rois(most: int, proposals: int, background_min_iou: float) -> None:
    """Of three images the second has fewer objects, the third none; some proposals are padding."""
    rng = np.random.default_rng(0)
    gt = random_boxes(rng, 3, most)
    labels = np.array([[3, 1, 2, 1], [2, 0, 0, 0], [0, 0, 0, 0]])[:, :most]
    gt[labels == 0] = 0
    rois = random_boxes(rng, 3, proposals)
    if most:
        rois[:, :20] = np.repeat(gt, 5, 1) + rng.uniform(-6, 6, (3, 20, 4)) if proposals else rois[:, :20]
    real = rng.random((3, proposals)) < 0.8
    rois[~real] = 0
    priorities = rng.random((3, proposals + most), np.float32)
    given = (rois, real, gt, labels, priorities)
    settings = RoITraining(batch_size=40, background_min_iou=background_min_iou)
    expected = torch_sampling.sample_rois(*map(torch.from_numpy, given), settings)
    found = tf.function(lambda *tensors: sample_rois(*tensors, settings))(*map(tf.constant, given))
    np.testing.assert_array_equal(found.labels, expected.labels)
    chosen = expected.labels.numpy() >= 0
    assert chosen.any() == bool(most + proposals)
    np.testing.assert_array_equal(found.rois.numpy()[chosen], expected.rois.numpy()[chosen])
    np.testing.assert_allclose(found.deltas, expected.deltas, atol=1e-5)


def test_roi_losses() -> None:
    rng = np.random.default_rng(0)
    logits, deltas = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 9, 4), (3, 9, 3, 4)))
    labels = np.array([[3, 1, 2, 0, 0, 0, 0, -1, -1], [0] * 9, [-1] * 9])
    targets = rng.normal(size=(3, 9, 4)).astype(np.float32)
    leaves = [torch.from_numpy(x).requires_grad_() for x in (logits, deltas)]
    expected = torch_heads.roi_losses(*leaves, *map(torch.from_numpy, (labels, targets)), 1)
    torch.stack(expected).sum().backward()
    targets[labels <= 0] = np.nan
    variables = [tf.Variable(x) for x in (logits, deltas)]
    with tf.GradientTape() as tape:
        found = roi_losses(*variables, tf.constant(labels), tf.constant(targets), 1)
        total = tf.reduce_sum(found)
    np.testing.assert_allclose(found, torch.stack(expected).detach(), rtol=1e-6)
    for gradient, leaf in zip(tape.gradient(total, variables), leaves, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), leaf.grad, atol=1e-7)


@pytest.mark.parametrize("count", [0, 5, 120])
@pytest.mark.parametrize("most", [30, None])
def test_detections(count: int, most: int | None) -> None:
    rng = np.random.default_rng(0)
    rois = random_boxes(rng, count)
    rois[: count // 10] = 200  # outside: nothing is left of them
    logits = rng.normal(0, 2, (count, 4)).astype(np.float32)
    deltas = rng.normal(0, 0.5, (count, 3, 4)).astype(np.float32)
    settings = Detect(score_threshold=0.1, max_detections=most)
    expected = torch_detections.select_detections(
        *map(torch.from_numpy, (rois, logits, deltas)), (100, 90), settings, True
    )
    found = select_detections(
        *map(tf.constant, (rois, logits, deltas, np.array([100, 90], np.float32))), settings, True
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert len(expected[2]) == min(most or 1000, len(expected[2]))
    padded = pad(found, 400)
    assert padded.boxes.shape == (400, 4)
    assert np.count_nonzero(padded.labels) == len(expected[2])


def test_no_box_above_the_threshold() -> None:
    rois = tf.constant([[1.0, 1, 5, 5]])
    found = select_detections(
        rois, tf.zeros((1, 4)), tf.zeros((1, 3, 4)), tf.constant([9.0, 9]), Detect(score_threshold=0.9), True
    )
    assert [len(each) for each in found] == [0, 0, 0]


def test_a_seed_decides_what_is_dropped() -> None:
    head = VGGHead(dropout=0.4)
    features = tf.random.stateless_normal((3, 7, 7, 512), [0, 0])
    first, again, other = (head(features, training=True, seed=tf.constant([0, seed])) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    dropped = np.asarray(first) == 0
    assert (dropped != (np.asarray(other) == 0)).any()
    kept = np.asarray(head(features)) > 0
    assert 0.2 < (dropped & kept).sum() / kept.sum() < 0.6
    with pytest.raises(ValueError, match="None"):
        head(features, training=True)
