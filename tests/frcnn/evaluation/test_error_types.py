"""TIDE's types of errors and what they cost, worked by hand; and what always holds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcnn.boxes import iou
from frcnn.evaluation.error_types import NONE, TYPES, ErrorTypes, error_types
from frcnn.evaluation.voc_ap import Objects, mean_ap
from tests.flat_detections import Scored, by_image, judge, objects_of, scored_of
from tests.scenes import ALWAYS, IMAGES, NAMES, perfect, reorder, scenes, truth

ONE, PART, SLICE, TOUCHING = (
    [0, 0, 10, 10],
    [0, 0, 10, 4],
    [0, 0, 10, 3],
    [0, 0, 10, 1],
)  # IoU with ONE: 1, 0.4, 0.3, 0.1
TWO, PART_OF_TWO, AWAY = [50, 50, 60, 60], [50, 50, 60, 54], [80, 80, 90, 90]


def types_of(objects: Objects, detections: Scored, iou_threshold: float = 0.5) -> ErrorTypes:
    return error_types(objects, by_image(detections, NAMES, IMAGES), iou_threshold)


def named(errors: ErrorTypes) -> list[str | None]:
    return [None if index == NONE else TYPES[index] for index in errors.types]


@pytest.mark.parametrize(
    ("objects", "detections", "types", "missed", "cost"),
    [
        pytest.param([(0, ONE, 1, False)], [(0, ONE, 0.9, 1)], [None], [False], {}, id="perfect"),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 1, False)],
            [(0, ONE, 0.9, 1), (0, ONE, 0.8, 1), (1, ONE, 0.7, 1)],
            [None, "duplicate", None],
            [False, False],
            {"duplicate": 1 / 6, "false_positive": 1 / 6},  # of 1/2 + 1/2 * 2/3
            id="duplicate",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 1, False)],
            [(0, AWAY, 0.9, 1), (0, ONE, 0.8, 1), (1, ONE, 0.7, 1)],
            ["background", None, None],
            [False, False],
            {"background": 1 / 3, "false_positive": 1 / 3},  # of 2/3
            id="background",
        ),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, PART, 0.9, 1)],
            ["localization"],
            [False],
            {"localization": 1, "false_negative": 0},
            id="localization corrects its object, which is then not missed",
        ),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, TOUCHING, 0.9, 1)],
            ["localization"],
            [False],
            {"localization": 1},
            id="an IoU of 0.1 with the right class is a localization error",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 1, False)],
            [(0, SLICE, 0.9, 1), (0, PART, 0.8, 1), (1, ONE, 0.7, 1)],
            ["localization", "localization", None],
            [False, False],
            # Of 1/2 * 1/3: the first finds its object, the second goes. Without both: 1/2. With one object less: 1/3.
            {"localization": 5 / 6, "false_positive": 1 / 3, "false_negative": 1 / 6},
            id="of two errors about one object the higher score corrects it, whatever the IoU",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 1, False)],
            [(0, ONE, 0.9, 1), (0, PART, 0.8, 1), (1, ONE, 0.7, 1)],
            [None, "localization", None],
            [False, False],
            {"localization": 1 / 6, "false_positive": 1 / 6},
            id="a localization error about an object that was found is removed",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 2, False)],
            [(0, ONE, 0.9, 2), (1, ONE, 0.8, 2)],
            ["classification", None],
            [False, False],
            # a: 0, b: 1/2. The error becomes a find of a: 1, and b is rid of it: 1.
            {"classification": 0.75, "false_positive": 0.25, "false_negative": 0.5},
            id="classification",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 2, False)],
            [(0, PART, 0.9, 2), (1, ONE, 0.8, 2)],
            ["both", None],
            [True, False],
            # Of a mean of 0 and 1/2. The object of a is missed: without it nothing of a is left, and no detection.
            {"both": 0.25, "missed": 0.5, "false_positive": 0.25, "false_negative": 0.5},
            id="both",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 2, False)],
            [(0, ONE, 0.9, 2), (0, PART, 0.8, 1), (1, ONE, 0.7, 2)],
            ["classification", "localization", None],
            [False, False],
            # a: 0, b: 1/2. Classification: a finds it at 0.9, b is rid of it. Localization: only removed.
            {"classification": 0.75, "false_positive": 0.25},
            id="of a classification and a localization error about one object the higher score corrects it",
        ),
        pytest.param(
            [(0, ONE, 1, False), (1, ONE, 1, False)],
            [(0, ONE, 0.9, 1)],
            [None],
            [False, True],
            {"missed": 0.5, "false_negative": 0.5},
            id="missed",
        ),
        pytest.param(
            [(0, ONE, 1, False)], [], [], [True], {"missed": 1, "false_negative": 1}, id="nothing is detected"
        ),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, AWAY, 0.9, 1)],
            ["background"],
            [True],
            {},
            id="nothing is right: no single type would help",
        ),
        pytest.param(
            [(0, ONE, 1, False), (0, TWO, 1, True)],
            [(0, TWO, 0.9, 1), (0, PART_OF_TWO, 0.8, 1), (0, ONE, 0.7, 1)],
            [None, "background", None],
            [False, False],
            {"background": 0.5, "false_positive": 0.5},
            id="a difficult object ignores detections, is not missed, and is otherwise not there",
        ),
        pytest.param([], [(0, ONE, 0.9, 1)], ["background"], [], dict.fromkeys(TYPES, np.nan), id="no objects"),
    ],
)
def test_hand_worked(objects: list, detections: list, types: list, missed: list, cost: dict[str, float]) -> None:
    found = types_of(objects_of(*objects), scored_of(*detections))
    assert named(found) == types
    assert found.missed.tolist() == missed
    costs = dict.fromkeys([*TYPES, "false_positive", "false_negative"], 0.0) | cost
    if objects:
        assert found.cost == pytest.approx(costs)
    else:
        assert all(np.isnan(value) for value in found.cost.values())


def test_all_together() -> None:
    objects = objects_of((0, ONE, 1, False), (0, TWO, 1, False), (1, ONE, 2, False))
    detections = scored_of(
        (0, ONE, 0.9, 1), (0, ONE, 0.8, 1), (0, PART_OF_TWO, 0.7, 1), (0, PART, 0.4, 2),
        (1, ONE, 0.6, 1), (1, AWAY, 0.5, 1),
    )  # fmt: skip
    found = types_of(objects, detections)
    assert named(found) == [None, "duplicate", "localization", "both", "classification", "background"]
    assert found.objects.tolist() == [-1, 0, 1, -1, 2, -1]
    assert not found.missed.any()
    # a: right, wrong, wrong, wrong, wrong, of two objects: 1/2. b: wrong, of one: 0. Their mean is 1/4.
    # With a better box: (1/2 + 1/2 * 2/3 + 0) / 2; with the right class: (1/2 + 1) / 2; without the two objects that
    # nothing found: a has all, b is left with a false alarm and nothing to find.
    assert found.cost == pytest.approx(
        {"classification": 1 / 2, "localization": 1 / 6, "both": 0, "duplicate": 0, "background": 0, "missed": 0}
        | {"false_positive": 0, "false_negative": 1 / 4}
    )


@given(scenes(), st.sampled_from([0.3, 0.5, 0.75]))
@ALWAYS
def test_every_error_has_the_type_of_its_definition_and_removing_it_never_lowers_ap(
    scene: tuple[Objects, Scored], iou_threshold: float
) -> None:
    objects, detections = scene
    found, results = types_of(objects, detections, iou_threshold), judge(objects, detections, NAMES, iou_threshold)
    wrong = sum(len(each.scores) - each.found for each in results)
    assert np.count_nonzero(found.types != NONE) == wrong
    assert np.count_nonzero(found.missed) <= sum(each.objects - each.found for each in results)
    assert not (found.missed & objects.difficult).any()
    split = by_image(detections, NAMES, IMAGES)
    for index in np.flatnonzero(found.types != NONE):
        near = (objects.images == split.image_index[index]) & ~objects.difficult
        ious = np.where(near, iou(split.boxes[index : index + 1].astype(float), objects.boxes.astype(float))[0], 0)
        own = ious[objects.labels == split.labels[index]].max(initial=0)
        other = ious[objects.labels != split.labels[index]].max(initial=0)
        expected = (
            "localization" if 0.1 <= own <= iou_threshold
            else "classification" if other > iou_threshold
            else "duplicate" if own > iou_threshold
            else "background" if max(own, other) <= 0.1
            else "both"
        )  # fmt: skip
        assert TYPES[found.types[index]] == expected
    if any(each.objects for each in results):
        assert min(found.cost.values()) > -1e-9
        before = mean_ap(results, "area")
        assert max(found.cost.values()) <= 1 - before + 1e-9
        for name in ("both", "duplicate", "background"):
            assert found.cost[name] <= found.cost["false_positive"] + 1e-9
        assert found.cost["missed"] <= found.cost["false_negative"] + 1e-9


@given(truth(least=1))
@ALWAYS
def test_perfect_detections_have_no_error(objects: Objects) -> None:
    found = types_of(objects, perfect(objects))
    assert (found.types == NONE).all()
    assert not found.missed.any()
    assert found.cost == pytest.approx(dict.fromkeys(found.cost, 0))


@given(scenes(), st.permutations(range(IMAGES)))
@ALWAYS
def test_the_order_of_pictures_does_not_count(scene: tuple[Objects, Scored], order: list[int]) -> None:
    other = types_of(*reorder(scene, order))
    assert other.cost == pytest.approx(types_of(*scene).cost, nan_ok=True)
