"""AP that each picture costs, and the errors that are shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcnn.evaluation.matching import WRONG
from frcnn.evaluation.picture_errors import ap_lost, telling_errors
from frcnn.evaluation.split_matching import match_split
from frcnn.evaluation.voc_ap import Objects, mean_ap
from tests.flat_detections import Scored, by_image, judge, objects_of, scored_of
from tests.scenes import ALWAYS, IMAGES, NAMES, perfect, reorder, scenes, truth

ONE, PART, TWO, AWAY = [0, 0, 10, 10], [0, 0, 10, 4], [20, 0, 40, 20], [50, 50, 60, 60]


def lost(objects: Objects, detections: Scored, iou_threshold: float = 0.5) -> np.ndarray:
    return ap_lost(objects, by_image(detections, NAMES, IMAGES), iou_threshold)


def test_hand_worked() -> None:
    """In the order of scores: wrong (1), right (0), wrong (3), right (2), of three objects; picture 3 misses one.

    The AP is 2/3 * 1/2 (the precisions are 0, 1/2, 1/3, 1/2). Without the first mistake 1/3 * 1 + 1/3 * 2/3. Without
    the second, and with its object found before all: 1/3 * 1 + 2/3 * 3/4.
    """
    objects = objects_of((0, ONE, 1, False), (2, ONE, 1, False), (3, ONE, 1, False))
    detections = scored_of((1, ONE, 0.9, 1), (0, ONE, 0.8, 1), (3, AWAY, 0.7, 1), (2, ONE, 0.6, 1))
    np.testing.assert_allclose(lost(objects, detections), [0, 5 / 9 - 1 / 3, 0, 5 / 6 - 1 / 3])


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        ([], [], [0, 0, 0, 0]),
        ([], [(0, ONE, 0.5, 1)], [0, 0, 0, 0]),
        ([(0, ONE, 1, False)], [], [1, 0, 0, 0]),
        ([(0, ONE, 1, False), (1, ONE, 2, False)], [(0, ONE, 0.5, 1)], [0, 0.5, 0, 0]),
        ([(0, ONE, 1, False), (1, ONE, 1, True)], [(0, ONE, 0.5, 1), (1, ONE, 0.9, 1)], [0, 0, 0, 0]),
    ],
    ids=["nothing", "no objects", "no detections", "one class of two is missed", "on a difficult object"],
)
def test_borders(objects: list, detections: list, expected: list) -> None:
    assert lost(objects_of(*objects), scored_of(*detections)).tolist() == expected


@given(scenes(least=1), st.sampled_from([0.3, 0.5, 0.75]))
@ALWAYS
def test_is_the_rise_when_the_picture_is_mended(scene: tuple[Objects, Scored], iou_threshold: float) -> None:
    """Its wrong detections are taken out and one is put on each missed object, and all is judged again."""
    objects, detections = scene
    split = by_image(detections, NAMES, IMAGES)
    matching = match_split(objects, split, iou_threshold)
    before = mean_ap(judge(objects, detections, NAMES, iou_threshold), "area")
    found = lost(objects, detections, iou_threshold)
    assert found.min() >= 0
    for image in range(IMAGES):
        right = ~((matching.verdict == WRONG) & (split.image_index == image))
        new = matching.missed & (objects.images == image)
        mended = Scored(
            np.concatenate([split.image_index[right], objects.images[new]]),
            np.concatenate([split.boxes[right], objects.boxes[new]]),
            np.concatenate([split.scores[right], np.ones(new.sum())]),
            np.concatenate([split.labels[right], objects.labels[new]]),
        )
        after = mean_ap(judge(objects, mended, NAMES, iou_threshold), "area")
        assert found[image] == pytest.approx(after - before, abs=1e-12)


@given(scenes(least=1))
@ALWAYS
def test_arrays_in_parts_give_the_same(scene: tuple[Objects, Scored]) -> None:
    expected = lost(*scene)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frcnn.evaluation.picture_errors.TOGETHER", 1)
        np.testing.assert_array_equal(lost(*scene), expected)


@given(truth())
@ALWAYS
def test_perfect_detections_lose_nothing(objects: Objects) -> None:
    detections = perfect(objects)
    assert lost(objects, detections) == pytest.approx(np.zeros(IMAGES))
    for indices in telling_errors(objects, by_image(detections, NAMES, IMAGES), 0.5):
        assert not len(indices)


@given(scenes(least=1), st.permutations(range(IMAGES)))
@ALWAYS
def test_the_order_of_pictures_does_not_count(scene: tuple[Objects, Scored], order: list[int]) -> None:
    np.testing.assert_allclose(lost(*reorder(scene, order))[np.array(order)], lost(*scene))


def test_telling_errors_and_their_order() -> None:
    objects = objects_of(
        (0, ONE, 1, False), (0, TWO, 1, False), (1, ONE, 1, True), (2, ONE, 1, False), (3, ONE, 2, False)
    )
    detections = scored_of(
        (0, PART, 0.2, 1),  # near the first object, which nothing finds
        (0, AWAY, 0.9, 1),
        (1, PART, 0.8, 1),  # near a difficult object
        (1, ONE, 0.7, 1),  # ignored
        (2, ONE, 0.6, 1),  # right
        (2, PART, 0.5, 1),  # near an object that is found
        (3, PART, 0.4, 1),  # near an object of another class
    )
    found = telling_errors(objects, by_image(detections, NAMES, IMAGES), 0.5)
    assert found.false_alarms.tolist() == [1, 2, 5, 6, 0]
    assert found.missed.tolist() == [1, 0, 4]  # 400, 100 and 100 square pixels
    assert found.near_misses.tolist() == [0]
