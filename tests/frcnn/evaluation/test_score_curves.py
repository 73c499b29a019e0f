"""Precision, recall and F1 over the score, and the score of the best F1."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcnn.evaluation.score_curves import THRESHOLDS, best_f1, mean_score_curve, score_curve, threshold_below
from frcnn.evaluation.tables import score_curve_table
from frcnn.evaluation.voc_ap import Objects
from tests.flat_detections import Scored, judge, objects_of, scored_of
from tests.scenes import ALWAYS, NAMES, scenes

ONE, TWO, AWAY = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]
OBJECTS = objects_of((0, ONE, 1, False), (0, TWO, 1, False), (0, ONE, 2, False))
# a: right, wrong, right, with F1 of 2/3, 1/2, 4/5. b: right, wrong, with 1, 2/3. c, which has no object: wrong.
FOUND = scored_of(
    (0, ONE, 0.9, 1), (0, AWAY, 0.8, 1), (0, TWO, 0.7, 1), (0, ONE, 0.8, 2), (0, AWAY, 0.6, 2), (0, AWAY, 0.95, 3)
)


def at(score: float) -> int:
    return int(np.searchsorted(THRESHOLDS, score - 1e-9))


def test_curves_of_two_classes_and_their_mean() -> None:
    results = judge(OBJECTS, FOUND, ["a", "b", "c"], 0.5)
    a, b, mean = score_curve(results[0]), score_curve(results[1]), mean_score_curve(results)
    places = [at(score) for score in (0, 0.65, 0.75, 0.85, 0.92)]
    np.testing.assert_allclose(a.precision[places], [2 / 3, 2 / 3, 1 / 2, 1, np.nan])
    np.testing.assert_allclose(a.recall[places], [1, 1, 1 / 2, 1 / 2, 0])
    np.testing.assert_allclose(a.f1[places], [4 / 5, 4 / 5, 1 / 2, 2 / 3, 0])
    np.testing.assert_allclose(mean.f1[places], [(4 / 5 + 2 / 3) / 2, 0.9, 0.75, 1 / 3, 0])
    np.testing.assert_allclose(mean.precision[places], [(2 / 3 + 1 / 2) / 2, 5 / 6, 3 / 4, 1, np.nan])
    assert (a.best_score, a.best_f1) == (pytest.approx(0.7), pytest.approx(0.8))
    assert (b.best_score, b.best_f1) == (pytest.approx(0.8), 1)
    assert (mean.best_score, mean.best_f1) == (pytest.approx(0.7), pytest.approx(0.9))
    assert best_f1(results) == {"score": 0.699999, "F1": 0.9, "precision": 0.833333, "recall": 1}


@pytest.mark.parametrize(
    ("objects", "detections", "best", "summary"),
    [
        pytest.param([], [], (math.nan, math.nan), {}, id="nothing at all"),
        pytest.param([], [(0, ONE, 0.5, 1)], (math.nan, math.nan), {}, id="no objects"),
        pytest.param([(0, ONE, 1, True)], [(0, ONE, 0.5, 1)], (math.nan, math.nan), {}, id="difficult objects only"),
        pytest.param([(0, ONE, 1, False)], [], (math.nan, 0), {"F1": 0}, id="no detections"),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, AWAY, 0.5, 1), (0, AWAY, 0.25, 1)],
            (0.5, 0),
            {"score": 0.499999, "F1": 0, "precision": 0, "recall": 0},
            id="all wrong: the highest score",
        ),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, ONE, 0.5, 1), (0, AWAY, 0.5, 1)],
            (0.5, 2 / 3),
            {"score": 0.499999, "F1": 0.666667, "precision": 0.5, "recall": 1},
            id="detections of one score count together",
        ),
        pytest.param(
            [(0, ONE, 1, False), (0, TWO, 1, True)],
            [(0, TWO, 0.75, 1), (0, ONE, 0.5, 1)],
            (0.5, 1),
            {"score": 0.499999, "F1": 1, "precision": 1, "recall": 1},
            id="what lies on a difficult object does not count",
        ),
    ],
)
def test_best(objects: list, detections: list, best: tuple[float, float], summary: dict[str, float]) -> None:
    results = judge(objects_of(*objects), scored_of(*detections), ["a"], 0.5)
    curve = mean_score_curve(results)
    assert (curve.best_score, curve.best_f1) == pytest.approx(best, nan_ok=True)
    assert best_f1(results) == summary
    assert np.isnan(curve.f1).all() == math.isnan(best[1])


def test_table_has_a_row_for_each_class_with_objects_and_score() -> None:
    lines = score_curve_table(judge(OBJECTS, FOUND, ["=a", "b", "c"], 0.5)).splitlines()
    assert lines[0] == "class,score,precision,recall,F1"
    assert len(lines) == 1 + 2 * 101
    assert lines[1 + 75] == "'=a,0.750000,0.500000,0.500000,0.500000"
    assert lines[-1] == "b,1.000000,,0.000000,0.000000"
    assert score_curve_table([]) == lines[0] + "\n"


@given(scenes())
@ALWAYS
def test_best_is_the_best_of_all_scores(scene: tuple[Objects, Scored]) -> None:
    """Judged anew with the detections of at least each score, by the definition: 2 TP / (detections + objects)."""
    objects, detections = scene
    means = {}
    for score in detections.scores:
        kept = Scored(*(values[detections.scores >= score] for values in detections))
        results = [each for each in judge(objects, kept, NAMES, 0.5) if each.objects]
        if results:
            means[score] = np.mean([2 * each.found / (len(each.scores) + each.objects) for each in results])
    results = judge(objects, detections, NAMES, 0.5)
    curve = mean_score_curve(results)
    counted = {score for each in results if each.objects for score in each.scores}  # not on difficult objects
    if not counted:
        assert math.isnan(curve.best_score)
        return
    assert curve.best_f1 == pytest.approx(max(means.values()))
    best = [score for score in counted if means[score] > curve.best_f1 - 1e-9]
    assert curve.best_score == max(best)
    for name in ("f1", "recall"):
        values = getattr(curve, name)
        assert ((values >= 0) & (values <= 1)).all()
    assert curve.f1.max() <= curve.best_f1 + 1e-9
    assert (np.diff(curve.recall) <= 0).all()


@given(st.floats(0, 1, width=32))
@ALWAYS
def test_the_threshold_is_below_the_score_in_float32_too(score: float) -> None:
    threshold = threshold_below(score)
    assert np.float32(threshold) < np.float32(score) or threshold == 0
    assert 0 <= score - threshold < 1.2e-6 or threshold == 0
    assert threshold == round(threshold, 6)
