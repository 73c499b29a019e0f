"""The bootstrap over pictures: each draw is the AP of a split that holds the pictures as often as they were drawn."""

import numpy as np
import pytest
from hypothesis import given

from frcnn.evaluation.bootstrap import bootstrap, interval
from frcnn.evaluation.voc_ap import RULES, Objects
from tests.flat_detections import Scored, by_image, judge, objects_of, scored_of
from tests.scenes import ALWAYS, IMAGES, NAMES, scenes

ONE, TWO, AWAY = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def repeated(objects: Objects, detections: Scored, drawn: np.ndarray) -> tuple[Objects, Scored]:
    """Return a split of the pictures drawn; copies of a detection come right after it."""
    places = [np.flatnonzero(objects.images == image) for image in drawn]
    found = [np.flatnonzero(detections.images == image) for image in drawn]
    rows, where = np.concatenate(places), np.repeat(np.arange(len(drawn)), list(map(len, places)))
    picked, owner = np.concatenate(found), np.repeat(np.arange(len(drawn)), list(map(len, found)))
    copy = Scored(*(values[picked] for values in detections))
    return (
        Objects(*(values[rows] for values in objects))._replace(images=where),
        copy._replace(images=owner, scores=copy.scores - owner / 1000),
    )


@given(scenes())
@ALWAYS
def test_each_draw_is_the_ap_of_the_pictures_drawn(scene: tuple[Objects, Scored]) -> None:
    objects, detections = scene
    found = bootstrap(objects, by_image(detections, NAMES, IMAGES), 0.5, draws=4, seed=7)
    assert found.shape == (4, 2, 3)
    rng = np.random.default_rng(7)
    for values in found:
        drawn = rng.integers(IMAGES, size=IMAGES)
        results = judge(*repeated(objects, detections, drawn), NAMES, 0.5)
        expected = [[result.ap[rule] for rule in RULES] for result in results]
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_two_pictures_one_right() -> None:
    """An AP of 0, 1/2 or 1, in a quarter, a half and a quarter of the draws; b has its object in one picture."""
    objects = objects_of((0, ONE, 1, False), (1, ONE, 1, False), (1, TWO, 2, False))
    detections = by_image(scored_of((0, ONE, 0.9, 1), (1, TWO, 0.5, 2)), NAMES)
    found = bootstrap(objects, detections, 0.5, draws=1000)
    values, counts = np.unique(found[:, 0, 1], return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    np.testing.assert_allclose(counts / 1000, [0.25, 0.5, 0.25], atol=0.06)
    np.testing.assert_array_equal(np.isnan(found[:, 1]), (found[:, 0, 1:2] == 1).repeat(3, 1))
    assert (np.nan_to_num(found[:, 1], nan=1) == 1).all()
    np.testing.assert_array_equal(bootstrap(objects, detections, 0.5, draws=1000), found)
    np.testing.assert_array_equal(bootstrap(objects, detections, 0.5, draws=60), found[:60])
    assert (bootstrap(objects, detections, 0.5, draws=1000, seed=2) != found).any()


def test_pairs_share_their_draws() -> None:
    objects = objects_of(*((image, ONE, 1, False) for image in range(50)))
    first = scored_of(*((image, ONE if image % 2 else AWAY, 0.5, 1) for image in range(50)))
    second = scored_of(*((image, ONE, 0.5, 1) for image in range(50)))
    a, b = by_image(first, ["a"]), by_image(second, ["a"])
    before, again, now = (bootstrap(objects, each, 0.5, draws=20) for each in (a, a, b))
    assert (again - before == 0).all()
    np.testing.assert_array_equal(now - before, 1 - before)


@pytest.mark.parametrize("images", [0, 3])
def test_without_objects_there_is_no_ap(images: int) -> None:
    found = bootstrap(objects_of(), by_image(scored_of(), NAMES, images), 0.5, draws=5)
    assert np.isnan(found).all()
    assert np.isnan(interval(found)).all()


def test_interval() -> None:
    values = np.stack([np.arange(101.0), np.full(101, np.nan), np.r_[np.arange(51.0), np.full(50, np.nan)]], 1)
    np.testing.assert_allclose(interval(values), [[2.5, np.nan, 1.25], [97.5, np.nan, 48.75]])
    np.testing.assert_allclose(interval(values[:, 0], 0.5), [25, 75])
