"""What holds for the labels of all anchors and objects, also of the mirror image; and how labels are packed."""

from dataclasses import fields
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid, valid_anchors
from frcnn.anchors.label import LabeledImage, Labels, label_image
from frcnn.anchors.matcher import IGNORE, NEGATIVE, POSITIVE, match_anchors
from frcnn.anchors.targets import join_images
from frcnn.backbones import STRIDE
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Anchors
from tests.factories import grid_of, one_map

# On a busy machine drawing may take long.
ALWAYS = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
# Shapes that float32 holds exactly (sides 8 to 128), so that an anchor and its mirror image have the same overlaps.
EXACT = Anchors(anchor_sizes=(16.0, 32.0, 64.0), anchor_ratios=(0.25, 1.0, 4.0))


def box_lists(least: int, most: int, span: int = 60) -> st.SearchStrategy[np.ndarray]:
    """Return boxes (n, 4) float32 of quarters of a pixel within span x span, at least one pixel large."""
    corner, side = st.integers(0, 4 * span - 4), st.integers(4, 2 * span)
    box = st.tuples(corner, corner, side, side).map(
        lambda b: (b[0], b[1], min(b[0] + b[2], 4 * span), min(b[1] + b[3], 4 * span))
    )
    rows = st.lists(box, min_size=least, max_size=most)
    return rows.map(lambda found: np.array(found, np.float32).reshape(-1, 4) / 4)


class Case(NamedTuple):
    anchors: np.ndarray
    objects: np.ndarray
    positive_iou: float
    negative_iou: float
    tolerance: float

    def match(self, **changes: object) -> tuple[np.ndarray, np.ndarray]:
        found = match_anchors(*self._replace(**changes))
        return found.labels, found.objects

    def iou(self) -> np.ndarray:
        return boxes.iou(self.anchors.astype(np.float64), self.objects.astype(np.float64))


@st.composite
def cases(draw: st.DrawFn, least_objects: int = 1) -> Case:
    """Return anchors and objects that overlap much, some of them twice, and thresholds that some IoUs equal."""
    anchors, objects = draw(box_lists(1, 12)), draw(box_lists(least_objects, 5))
    copies = draw(st.lists(st.integers(0, len(anchors) - 1), max_size=3))
    anchors = np.concatenate([anchors, anchors[copies], objects[: draw(st.integers(0, 1))]])
    overlaps = boxes.iou(anchors.astype(np.float64), objects.astype(np.float64))
    thresholds = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0]) | st.sampled_from([1.0, *overlaps.ravel().tolist()])
    negative, positive = sorted((draw(thresholds), draw(thresholds)))
    positive = positive or 1.0  # with 0 every anchor would be positive
    return Case(anchors, objects, positive, negative, draw(st.sampled_from([0.0, 0.0, 1e-5, 0.05])))


@given(cases(least_objects=0))
@ALWAYS
def test_labels_are_those_of_the_definition(case: Case) -> None:
    """Loops over anchors and objects, as the paper words it."""
    labels, objects = case.match()
    assert labels.shape == objects.shape == (len(case.anchors),)
    iou = case.iou().tolist()
    for anchor, row in enumerate(iou):
        best = max(row, default=0.0)
        closest = any(
            overlap > 0 and overlap >= max(other[k] for other in iou) - case.tolerance for k, overlap in enumerate(row)
        )
        if row and (best >= case.positive_iou or closest):
            expected = POSITIVE
        else:
            expected = NEGATIVE if not row or best < case.negative_iou else IGNORE
        assert labels[anchor] == expected
        if row:
            assert objects[anchor] == row.index(best)


@given(cases())
@ALWAYS
def test_few_objects_at_once_give_the_same(case: Case) -> None:
    labels, objects = case.match()
    with patch("frcnn.anchors.matcher.PAIRS", 1):
        parts = case.match()
    np.testing.assert_array_equal(parts[0], labels)
    np.testing.assert_array_equal(parts[1], objects)


@given(cases())
@ALWAYS
def test_thresholds_hold(case: Case) -> None:
    labels, _ = case.match()
    best = case.iou().max(1)
    assert set(labels.tolist()) <= {POSITIVE, NEGATIVE, IGNORE}
    assert (best[labels == NEGATIVE] < case.negative_iou).all()
    assert (labels[best >= case.positive_iou] == POSITIVE).all()
    assert (best[labels == POSITIVE] > 0).all()


@given(cases())
@ALWAYS
def test_every_object_that_is_touched_has_a_positive_anchor(case: Case) -> None:
    labels, _ = case.match()
    for overlaps in case.iou().T:
        if overlaps.max() > 0:
            assert (labels[overlaps == overlaps.max()] == POSITIVE).all()


@given(cases(), st.randoms(use_true_random=False))
@ALWAYS
def test_order_does_not_matter(case: Case, random: object) -> None:
    labels, objects = case.match()
    order = np.array(random.sample(range(len(case.objects)), len(case.objects)))
    shuffled_labels, shuffled_objects = case.match(objects=case.objects[order])
    np.testing.assert_array_equal(shuffled_labels, labels)
    iou, every = case.iou(), np.arange(len(case.anchors))
    np.testing.assert_array_equal(iou[every, order[shuffled_objects]], iou[every, objects])  # the same, or its equal
    single = (iou == iou.max(1, keepdims=True)).sum(1) == 1
    np.testing.assert_array_equal(order[shuffled_objects][single], objects[single])

    order = np.array(random.sample(range(len(case.anchors)), len(case.anchors)))
    moved_labels, moved_objects = case.match(anchors=case.anchors[order])
    np.testing.assert_array_equal(moved_labels, labels[order])
    np.testing.assert_array_equal(moved_objects, objects[order])


@given(cases(), st.floats(0, 0.2))
@ALWAYS
def test_more_tolerance_makes_more_positives(case: Case, more: float) -> None:
    before, after = (case.match(tolerance=tolerance)[0] for tolerance in (case.tolerance, case.tolerance + more))
    assert (after[before == POSITIVE] == POSITIVE).all()
    np.testing.assert_array_equal(after[after != POSITIVE], before[after != POSITIVE])


@given(cases(), box_lists(1, 1))
@ALWAYS
def test_one_object_more_takes_no_positive_away_and_adds_no_negative(case: Case, other: np.ndarray) -> None:
    before, after = case.match()[0], case.match(objects=np.concatenate([case.objects, other]))[0]
    assert (after[before == POSITIVE] == POSITIVE).all()
    assert (before[after == NEGATIVE] == NEGATIVE).all()


@given(cases(least_objects=0), st.integers(0, 5), box_lists(1, 1))
@ALWAYS
def test_an_object_that_no_anchor_touches_changes_nothing(case: Case, place: int, other: np.ndarray) -> None:
    place = min(place, len(case.objects))
    far = np.insert(case.objects, place, other[0] + 500, axis=0)
    if case.negative_iou > 0:  # otherwise an image without objects has negatives, and one with objects has none
        np.testing.assert_array_equal(case.match(objects=far)[0], case.match()[0])
    assert not (case.match(objects=far[place : place + 1])[0] == POSITIVE).any()


# ---- whole images


@st.composite
def images(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Return objects (G, 4) float32 of quarters of a pixel, width (a multiple of the stride) and height."""
    width, height = STRIDE * draw(st.integers(1, 14)), draw(st.integers(16, 200))
    found = draw(box_lists(0, 5, span=200))
    found = boxes.clip(found, np.float32(width), np.float32(height))
    return found[(found[:, 2:] > found[:, :2]).all(1)], width, height


def unpacked(labels: Labels, count: int) -> np.ndarray:
    return np.unpackbits(labels.negative_bits).astype(bool)[:count]


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
@given(image=images(), straddle=st.sampled_from([0.0, 20.0, None]), tolerance=st.sampled_from([0.0, 1e-5]))
@ALWAYS
def test_labels_of_the_mirror_image_are_the_mirrored_labels(
    backbone: str, image: tuple[np.ndarray, int, int], straddle: float | None, tolerance: float
) -> None:
    objects, width, height = image
    params = EXACT.model_copy(update={"rpn_straddle_thresh": straddle, "rpn_tie_tolerance": tolerance})
    labels = label_image(objects, (width, height), backbone, params)
    mirrored = label_image(boxes.flip(objects, width), (width, height), backbone, params)
    rows, columns = grid_of((width, height), backbone)
    count = rows * columns * 9
    place = np.arange(count).reshape(rows, columns, 9)[:, ::-1].ravel()  # of an anchor's mirror image

    np.testing.assert_array_equal(unpacked(mirrored, count), unpacked(labels, count)[place])
    back = place[mirrored.positive_index]
    order = np.argsort(back)
    np.testing.assert_array_equal(back[order], labels.positive_index)
    np.testing.assert_allclose(mirrored.positive_delta[order], labels.positive_delta * [-1, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50"])
@given(image=images(), straddle=st.sampled_from([0.0, 20.0, None]))
@ALWAYS
def test_labels_of_an_image_belong_to_valid_anchors_and_lead_to_the_objects(
    backbone: str, image: tuple[np.ndarray, int, int], straddle: float | None
) -> None:
    objects, width, height = image
    params = EXACT.model_copy(update={"anchor_ratios": (0.5, 1.0, 2.0), "rpn_straddle_thresh": straddle})
    labels = label_image(objects, (width, height), backbone, params)
    rows, columns = grid_of((width, height), backbone)
    anchors = anchor_grid(one_map(rows, columns), params)
    valid = np.zeros(len(anchors), bool)
    valid[valid_anchors((width, height), one_map(rows, columns), params)] = True
    negative = unpacked(labels, len(anchors))

    assert np.unpackbits(labels.negative_bits).sum() == negative.sum()  # none in the padding of the last byte
    assert valid[labels.positive_index].all()
    assert not (negative & ~valid).any()
    assert not negative[labels.positive_index].any()
    assert (np.diff(labels.positive_index) > 0).all()
    chosen = anchors[labels.positive_index]
    decoded = boxes.decode(labels.positive_delta, chosen, clamp=False)
    overlaps = boxes.iou(anchors, objects)
    if len(objects):
        distance = abs(decoded[:, None] - objects).max(2)
        assert (distance.min(1) < 1e-3).all()
        own = np.take_along_axis(overlaps[labels.positive_index], distance.argmin(1)[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(own, overlaps[labels.positive_index].max(1), atol=1e-6)
        assert (overlaps[negative] < params.rpn_negative_iou + 1e-6).all()
    else:
        np.testing.assert_array_equal(negative, valid)


@given(
    st.integers(1, 20), st.integers(1, 20), st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.0, 7.5, 40.0])
)
@ALWAYS
def test_valid_anchors_are_those_inside(rows: int, columns: int, right: int, below: int, straddle: float) -> None:
    """Where none is, all are."""
    width, height = STRIDE * columns + right, STRIDE * rows + below
    params = Anchors(anchor_sizes=(16.0, 64.0), anchor_ratios=(0.25, 1.0, 4.0), rpn_straddle_thresh=straddle)
    x1, y1, x2, y2 = anchor_grid(one_map(rows, columns), params).T
    inside = (x1 >= -straddle) & (y1 >= -straddle) & (x2 <= width + straddle) & (y2 <= height + straddle)
    expected = np.flatnonzero(inside) if inside.any() else np.arange(len(inside))
    np.testing.assert_array_equal(valid_anchors((width, height), one_map(rows, columns), params), expected)


@given(st.lists(images(), min_size=1, max_size=5))
@ALWAYS
def test_each_image_gets_back_what_was_packed(found: list[tuple[np.ndarray, int, int]]) -> None:
    counts = [len(image[0]) for image in found]
    starts = np.cumsum([0, *counts])
    annotations, images = [], []
    for start, (objects, width, height) in zip(starts, found, strict=False):
        size, classes = (width, height), np.arange(start, start + len(objects))
        plain = label_image(objects, size, "resnet50", EXACT)
        mirrored = label_image(boxes.flip(objects, width), size, "resnet50", EXACT)
        annotations.append(Annotation(str(start), Path(), *size, objects, classes, np.zeros(len(objects), bool)))
        images.append(LabeledImage(size, plain, mirrored, classes))
    targets = join_images(annotations, images, ["a"])
    for i, image in enumerate(images):
        for mirror, wanted in ((False, image.identity), (True, image.mirror)):
            labels, own_classes = targets.image(i, mirror)
            assert own_classes.tolist() == list(range(starts[i], starts[i + 1]))
            for field in fields(Labels):
                np.testing.assert_array_equal(getattr(labels, field.name), getattr(wanted, field.name))
