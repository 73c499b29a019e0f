"""What holds for all proposals and final detections, and that both are what plain loops give. In float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from frcnn import boxes
from frcnn.params import Detect, Model, Proposals
from frcnn.params.training import Postprocessing
from frcnn.pytorch.postprocessing import select_detections
from frcnn.pytorch.rpn import generate_proposals

# On a busy machine drawing may take long.
ALWAYS = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
THRESHOLDS = st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])
SIZES = st.tuples(st.integers(20, 120), st.integers(20, 120))


def greedy(candidates: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Return what non-maximum suppression keeps, best first: a box goes if it overlaps a better one that stays."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(boxes.iou(candidates[[i]], candidates[[k]])[0, 0] <= threshold for k in kept):
            kept.append(int(i))
    return kept


@st.composite
def rpn_outputs(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return logits (A,), no two equal, deltas (A, 4), anchors (A, 4) and which of them are allowed, (A,)."""
    count = draw(st.integers(least, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner, side = rng.integers(-20, 100, (count, 2)), rng.integers(4, 60, (count, 2))
    deltas = rng.normal(0, draw(st.sampled_from([0.0, 0.1, 1.0])), (count, 4))
    allowed = rng.random(count) < draw(st.sampled_from([0.5, 1.0]))
    return rng.permutation(count) - count / 2, deltas, np.concatenate([corner, corner + side], 1).astype(float), allowed


def propose(
    outputs: tuple[np.ndarray, ...],
    size: tuple[int, int],
    pre: int = 100,
    post: int = 100,
    threshold: float = 0.7,
    least: float = 0,
) -> np.ndarray:
    logits, deltas, anchors, allowed = (torch.from_numpy(each) for each in outputs)
    settings = Postprocessing(pre_nms_topk=pre, post_nms_topk=post)
    model = Model(proposals=Proposals(nms_threshold=threshold, min_size=least), delta_clamp=True)
    found, real = generate_proposals(logits[None], deltas[None], anchors, [size], allowed[None], settings, model)
    return found[real].numpy()


@given(rpn_outputs(), SIZES, st.integers(1, 30), st.integers(1, 30), THRESHOLDS, st.sampled_from([0, 5, 16]))
@ALWAYS
def test_proposals_are_those_of_plain_loops(
    outputs: tuple[np.ndarray, ...], size: tuple[int, int], pre: int, post: int, threshold: float, least: float
) -> None:
    found = propose(outputs, size, pre, post, threshold, least)
    logits, deltas, anchors, allowed = outputs
    # The best first, those that are not allowed last; only then are small ones dropped.
    best = sorted(range(len(logits)), key=lambda i: (not allowed[i], -logits[i]))[:pre]
    candidates = []
    for i in best:
        x1, y1, x2, y2 = boxes.clip(boxes.decode(deltas[i], anchors[i]), *map(float, size))
        if allowed[i] and min(x2 - x1, y2 - y1) >= least and min(x2 - x1, y2 - y1) > 0:
            candidates.append((x1, y1, x2, y2))
    expected = np.array(candidates).reshape(-1, 4)
    kept = greedy(expected, -np.arange(len(expected)), threshold)[:post]
    np.testing.assert_allclose(found, expected[kept], atol=1e-9)


@given(rpn_outputs(), SIZES, st.integers(1, 30), THRESHOLDS, st.sampled_from([0, 5, 16]))
@ALWAYS
def test_proposals_lie_in_the_image_are_large_enough_and_apart(
    outputs: tuple[np.ndarray, ...], size: tuple[int, int], post: int, threshold: float, least: float
) -> None:
    found = propose(outputs, size, post=post, threshold=threshold, least=least)
    assert len(found) <= min(post, outputs[3].sum())
    assert (found >= 0).all()
    assert (found <= [*size, *size]).all()
    assert ((found[:, 2:] - found[:, :2]) >= max(least, 1e-12)).all()
    overlaps = boxes.iou(found, found)
    assert (overlaps[~np.eye(len(found), dtype=bool)] <= threshold + 1e-12).all()


@given(rpn_outputs(), SIZES, st.randoms(use_true_random=False))
@ALWAYS
def test_the_order_of_anchors_does_not_count(
    outputs: tuple[np.ndarray, ...], size: tuple[int, int], random: Any
) -> None:
    order = np.array(random.sample(range(len(outputs[0])), len(outputs[0])))
    moved = tuple(each[order] for each in outputs)
    np.testing.assert_array_equal(propose(moved, size), propose(outputs, size))


@given(st.lists(st.tuples(rpn_outputs(8), SIZES), min_size=2, max_size=3))
@ALWAYS
def test_images_of_a_batch_do_not_meet(images: list[tuple[tuple[np.ndarray, ...], tuple[int, int]]]) -> None:
    count = min(len(outputs[0]) for outputs, _ in images)
    anchors = torch.from_numpy(images[0][0][2][:count])
    rows = [tuple(torch.from_numpy(each[:count]) for each in outputs) for outputs, _ in images]
    together, real = generate_proposals(
        torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows]), anchors,
        [size for _, size in images], torch.stack([row[3] for row in rows]),
        Postprocessing(pre_nms_topk=5, post_nms_topk=100), Model(proposals=Proposals(nms_threshold=0.7, min_size=0)),
    )  # fmt: skip
    for (logits, deltas, _, allowed), (_, size), found, own in zip(rows, images, together, real, strict=True):
        alone = propose((logits.numpy(), deltas.numpy(), anchors.numpy(), allowed.numpy()), size, pre=5)
        np.testing.assert_array_equal(found[own].numpy(), alone)


# ---- final detections


@st.composite
def head_outputs(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Return rois (R, 4) in an image of 100 x 80 pixels, class logits (R, C + 1) and deltas (R, C, 4)."""
    count, classes = draw(st.integers(0, 12)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.integers(0, 60, (count, 2))
    rois = np.concatenate([corner, corner + rng.integers(8, 20, (count, 2))], 1).astype(float)
    deltas = rng.normal(0, draw(st.sampled_from([0.0, 1.0, 5.0])), (count, classes, 4))
    logits = rng.normal(0, draw(st.sampled_from([0.5, 3.0])), (count, classes + 1))
    return torch.from_numpy(rois), torch.from_numpy(logits), torch.from_numpy(deltas)


SIZE = (100, 80)
SETTINGS: st.SearchStrategy[Detect] = st.builds(
    Detect,
    score_threshold=st.sampled_from([0.0, 0.05, 0.3]),
    nms_threshold=THRESHOLDS,
    max_detections=st.sampled_from([1, 5, 100, None]),
)


def select(outputs: tuple[Tensor, Tensor, Tensor], settings: Detect) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found, scores, labels = select_detections(*outputs, SIZE, settings, True)
    return found.numpy(), scores.numpy(), labels.numpy()


@given(head_outputs(), SETTINGS)
@ALWAYS
def test_detections_are_those_of_plain_loops(outputs: tuple[Tensor, Tensor, Tensor], settings: Detect) -> None:
    rois, logits, deltas = (each.numpy() for each in outputs)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = []
    for label in range(1, logits.shape[1]):
        shifts = deltas[:, label - 1] * [0.1, 0.1, 0.2, 0.2]
        own = boxes.clip(boxes.decode(shifts, rois), *map(float, SIZE))
        good = np.flatnonzero((probabilities[:, label] > settings.score_threshold) & (own[:, 2:] > own[:, :2]).all(1))
        for i in good[greedy(own[good], probabilities[good, label], settings.nms_threshold)]:
            rows.append([*own[i], probabilities[i, label], label])
    rows = sorted(rows, key=lambda row: -row[4])[: settings.max_detections]
    found, scores, labels = select(outputs, settings)
    found = np.column_stack([found, scores, labels])
    np.testing.assert_allclose(found, np.array(rows).reshape(-1, 6), atol=1e-9)


@given(head_outputs(), SETTINGS)
@ALWAYS
def test_detections_are_sorted_in_the_image_and_apart(outputs: tuple[Tensor, Tensor, Tensor], settings: Detect) -> None:
    found, scores, labels = select(outputs, settings)
    assert settings.max_detections is None or len(found) <= settings.max_detections
    assert (np.diff(scores) <= 0).all()
    assert ((scores > settings.score_threshold) & (scores <= 1)).all()
    assert ((labels >= 1) & (labels <= outputs[2].shape[1])).all()
    assert ((found >= 0) & (found <= [*SIZE, *SIZE])).all()
    assert (found[:, 2:] > found[:, :2]).all()
    overlaps = boxes.iou(found, found)
    pairs = (labels[:, None] == labels) & ~np.eye(len(found), dtype=bool)
    assert (overlaps[pairs] <= settings.nms_threshold + 1e-9).all()


def relabel(classes: int, random: Any) -> Callable[[tuple[Tensor, Tensor, Tensor]], tuple[Tensor, Tensor, Tensor]]:
    order = random.sample(range(classes), classes)
    columns = [0, *(1 + label for label in order)]
    return lambda outputs: (outputs[0], outputs[1][:, columns], outputs[2][:, order])


@given(head_outputs(), SETTINGS, st.randoms(use_true_random=False))
@ALWAYS
def test_classes_do_not_meet(outputs: tuple[Tensor, Tensor, Tensor], settings: Detect, random: Any) -> None:
    """Names of classes may be exchanged, and so may the rows of RoIs."""
    classes = outputs[2].shape[1]
    found, scores, _ = select(outputs, settings)
    order = random.sample(range(len(outputs[0])), len(outputs[0]))
    rows = tuple(each[order] for each in outputs)
    for other in (relabel(classes, random)(outputs), rows):
        other_found, other_scores, _ = select(other, settings)
        np.testing.assert_allclose(other_scores, scores, atol=1e-12)
        np.testing.assert_allclose(other_found, found, atol=1e-9)
