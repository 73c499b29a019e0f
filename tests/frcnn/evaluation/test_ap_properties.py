"""What holds for the average precision of all detections: bounds, what raises it, what it does not see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcnn import boxes
from frcnn.evaluation.voc_ap import (
    ELEVEN_POINTS,
    RULES,
    ClassResult,
    Objects,
    average_precision,
)
from tests.flat_detections import Scored
from tests.flat_detections import judge as judge_arrays
from tests.scenes import ALWAYS, NAMES, box, objects_of, overlap, perfect, scenes, scored_of, truth

DEVKIT = ("voc07", "area")
ROUNDING = 1e-9
EMPTY = 9  # an image without objects


def judge(objects: Objects, detections: Scored, iou_threshold: float = 0.5) -> list[ClassResult]:
    return judge_arrays(objects, detections, NAMES, iou_threshold)


def aps(objects: Objects, detections: Scored, iou_threshold: float = 0.5) -> np.ndarray:
    """Return (classes, rules)."""
    return np.array([[result.ap[rule] for rule in RULES] for result in judge(objects, detections, iou_threshold)])


def extended(detections: Scored, image: int, where: np.ndarray, score: float, label: int) -> Scored:
    """Return the detections with one more, which stands first in the file."""
    new = Scored(np.array([image]), np.array([where], np.float32), np.array([score]), np.array([label]))
    return Scored(*(np.concatenate([a, b]) for a, b in zip(new, detections, strict=True)))


@given(scenes(), st.sampled_from([0.0, 0.3, 0.5, 0.75]))
@ALWAYS
def test_bounds(scene: tuple[Objects, Scored], iou_threshold: float) -> None:
    objects, detections = scene
    for label, result in enumerate(judge(objects, detections, iou_threshold), 1):
        own = (objects.labels == label) & ~objects.difficult
        assert result.objects == own.sum()
        assert result.detections == (detections.labels == label).sum()
        if not result.objects:
            assert all(np.isnan(value) for value in result.ap.values())
            continue
        assert all(0 <= value <= 1 for value in result.ap.values())
        assert 0 <= result.found <= min(result.objects, result.detections)
        assert (np.diff(result.recalls) >= 0).all()
        assert (np.diff(result.scores) <= 0).all()
        for curve in (result.recalls, result.precisions):
            assert ((curve >= 0) & (curve <= 1)).all()
        if len(result.recalls):
            assert result.recalls[-1] == result.recall
        assert result.ap["area"] <= result.recall + ROUNDING  # precision is at most 1


@given(truth(least=1), st.sampled_from([0.5, 0.75, 0.95]))
@ALWAYS
def test_perfect_detections_score_1(objects: Objects, iou_threshold: float) -> None:
    """Also where objects crowd: each detection lies on its own."""
    detections = perfect(objects)
    for result in judge(objects, detections, iou_threshold):
        if result.objects:
            assert result.recall == 1
            assert [result.ap[rule] for rule in DEVKIT] == pytest.approx([1, 1])


@given(truth(least=1, apart=True))
@ALWAYS
def test_perfect_detections_of_objects_that_lie_apart_score_1_by_every_rule(objects: Objects) -> None:
    easy = Objects(*(values[~objects.difficult] for values in objects))
    np.testing.assert_allclose(aps(objects, perfect(easy))[np.unique(easy.labels) - 1], 1)


@given(scenes(least=1, apart=True), st.data())
@ALWAYS
def test_finding_one_object_more_at_the_top_never_lowers(scene: tuple[Objects, Scored], data: st.DataObject) -> None:
    objects, detections = scene
    target = data.draw(st.sampled_from(np.flatnonzero(~objects.difficult).tolist()))
    image, where, label, _ = (values[target] for values in objects)
    same = (detections.images == image) & (detections.labels == label)
    finds = same & (boxes.iou(detections.boxes, where[None])[:, 0] > 0.5)
    detections = Scored(*(values[~finds] for values in detections))
    more = extended(detections, image, where, 2.0, label)
    before, after = aps(objects, detections), aps(objects, more)
    assert (after[label - 1] >= before[label - 1] - ROUNDING).all()
    assert after[label - 1, 1] > before[label - 1, 1]  # the area grows strictly
    np.testing.assert_array_equal(after[2 - label], before[2 - label])  # the other class


@given(scenes(least=1), box, st.floats(0, 2), st.integers(1, 2))
@ALWAYS
def test_a_wrong_detection_never_raises(scene: tuple[Objects, Scored], where: tuple, score: float, label: int) -> None:
    objects, detections = scene
    before, after = aps(objects, detections), aps(objects, extended(detections, EMPTY, where, score, label))
    assert not (after[label - 1] > before[label - 1] + ROUNDING).any()  # NaN without objects
    np.testing.assert_array_equal(after[2 - label], before[2 - label])
    below_all = aps(objects, extended(detections, EMPTY, where, -1.0, label))
    np.testing.assert_allclose(below_all, before)  # what comes last costs nothing


@given(scenes(least=1, least_found=1), st.floats(0, 0.99), st.data())
@ALWAYS
def test_to_the_devkit_a_second_detection_of_the_same_is_as_wrong_as_one_in_an_empty_image(
    scene: tuple[Objects, Scored], fraction: float, data: st.DataObject
) -> None:
    objects, detections = scene
    objects.difficult[:] = False
    first = data.draw(st.sampled_from(range(len(detections.images))))
    image, where, top, label = (values[first] for values in detections)
    second, elsewhere = (extended(detections, place, where, fraction * top, label) for place in (image, EMPTY))
    np.testing.assert_array_equal(aps(objects, second)[:, :2], aps(objects, elsewhere)[:, :2])


@given(scenes(least=1), st.floats(0, 2), st.data())
@ALWAYS
def test_the_devkit_ignores_what_lies_on_a_difficult_object(
    scene: tuple[Objects, Scored], score: float, data: st.DataObject
) -> None:
    objects, detections = scene
    target = data.draw(st.sampled_from(range(len(objects.images))))
    objects.difficult[target] = True
    image, where, label, _ = (values[target] for values in objects)
    more = extended(detections, image, where, score, label)
    np.testing.assert_array_equal(aps(objects, more)[:, :2], aps(objects, detections)[:, :2])


@given(scenes(least=1))
@ALWAYS
def test_to_the_reference_difficult_objects_do_not_exist(scene: tuple[Objects, Scored]) -> None:
    objects, detections = scene
    easy = Objects(*(values[~objects.difficult] for values in objects))
    np.testing.assert_array_equal(aps(objects, detections)[:, 2], aps(easy, detections)[:, 2])


@given(scenes(), st.sampled_from([lambda s: s**3, lambda s: 5 - 1 / s, np.log, lambda s: s * 2.0**-30]))
@ALWAYS
def test_only_the_order_of_scores_counts(scene: tuple[Objects, Scored], rising: object) -> None:
    objects, detections = scene
    other = detections._replace(scores=rising(detections.scores))
    np.testing.assert_array_equal(aps(objects, other), aps(objects, detections))


@given(scenes(), st.permutations(range(4)), st.randoms(use_true_random=False))
@ALWAYS
def test_neither_the_order_of_images_nor_of_rows_counts(
    scene: tuple[Objects, Scored], images: list[int], random: object
) -> None:
    objects, detections = scene
    rename = np.array(images)
    order = np.array(random.sample(range(len(detections.images)), len(detections.images)), np.int64)
    renamed = objects._replace(images=rename[objects.images])
    shuffled = Scored(*(values[order] for values in detections._replace(images=rename[detections.images])))
    np.testing.assert_array_equal(aps(renamed, shuffled), aps(objects, detections))


@given(scenes(), st.integers(-40, 40), st.integers(0, 3))
@ALWAYS
def test_neither_place_nor_scale_counts(scene: tuple[Objects, Scored], shift: int, exponent: int) -> None:
    objects, detections = scene
    moved, moved_found = (
        each._replace(boxes=(each.boxes + np.float32(shift)) * np.float32(2**exponent))
        for each in (objects, detections)
    )
    np.testing.assert_array_equal(aps(moved, moved_found), aps(objects, detections))


@given(scenes(), st.floats(0, 0.9), st.floats(0, 0.9))
@ALWAYS
def test_a_stricter_threshold_never_raises(scene: tuple[Objects, Scored], one: float, other: float) -> None:
    objects, detections = scene
    low, high = sorted((one, other))
    strict, lenient = aps(objects, detections, high)[:, :2], aps(objects, detections, low)[:, :2]
    known = ~np.isnan(lenient)
    assert (strict[known] <= lenient[known] + ROUNDING).all()


@given(box, box)
@ALWAYS
def test_an_overlap_has_to_exceed_the_threshold(where: tuple, detected: tuple) -> None:
    objects, detections = objects_of([(0, where, 1)], [False]), scored_of([(0, detected, 1)], [0.5])
    exactly = overlap(where, detected)
    assert judge(objects, detections, exactly)[0].found == 0
    if exactly > 0:
        assert judge(objects, detections, np.nextafter(exactly, 0))[0].found == 1
        assert (aps(objects, detections, np.nextafter(exactly, 0))[0] == 1).all()
        assert (aps(objects, detections, exactly)[0] == 0).all()


# ---- the area below a curve


@st.composite
def curves(draw: st.DrawFn, least: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return recalls and precisions of some detections, right or wrong, and of some more objects than they find."""
    right = np.array(draw(st.lists(st.booleans(), min_size=least, max_size=30)), np.int64)
    total = max(1, right.sum() + draw(st.integers(0, 5)))
    return right.cumsum() / total, right.cumsum() / np.arange(1, len(right) + 1)


@given(curves())
@ALWAYS
def test_eleven_points_and_area_are_those_of_the_definition(curve: tuple[np.ndarray, np.ndarray]) -> None:
    recalls, precisions = curve
    best = [precisions[recalls >= point].max(initial=0) for point in ELEVEN_POINTS]
    assert average_precision(recalls, precisions, "voc07") == pytest.approx(np.mean(best))
    area, last = 0.0, 0.0
    for recall in np.unique(recalls):
        area += (recall - last) * precisions[recalls >= recall].max()
        last = recall
    assert average_precision(recalls, precisions, "area") == pytest.approx(area)


@given(curves())
@ALWAYS
def test_eleven_points_enclose_the_area(curve: tuple[np.ndarray, np.ndarray]) -> None:
    """The best precision falls with recall, so its sums at ten points from either end enclose its integral."""
    recalls, precisions = curve
    eleven, area = (average_precision(recalls, precisions, rule) for rule in DEVKIT)
    first, last = precisions.max(initial=0), precisions[recalls >= 1].max(initial=0)
    assert (11 * eleven - first) / 10 - ROUNDING <= area <= (11 * eleven - last) / 10 + ROUNDING


@given(curves(least=1), st.data())
@ALWAYS
def test_higher_precision_is_never_worse(curve: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    recalls, precisions = curve
    raised = precisions.copy()
    raised[data.draw(st.integers(0, len(recalls) - 1))] = 1.0
    for rule in DEVKIT:
        assert average_precision(recalls, raised, rule) >= average_precision(recalls, precisions, rule) - ROUNDING
