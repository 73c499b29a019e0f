"""The confusion matrix: what counts where, and that it adds up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frcnn.evaluation.confusion import Confusion, confusion
from frcnn.evaluation.tables import confusion_table
from frcnn.evaluation.voc_ap import Objects
from tests.flat_detections import Scored, by_image, judge, objects_of, scored_of
from tests.scenes import ALWAYS, IMAGES, NAMES, perfect, reorder, scenes, truth

ONE, SHIFTED, FURTHER, AWAY = [0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10], [50, 50, 60, 60]


def confuse(objects: Objects, detections: Scored, score: float = 0.0, iou_threshold: float = 0.5) -> Confusion:
    return confusion(objects, by_image(detections, NAMES, IMAGES), score, iou_threshold)


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        pytest.param([], [], [[0, 0, 0], [0, 0, 0], [0, 0, 0]], id="nothing"),
        pytest.param([(0, ONE, 1, False)], [], [[0, 0, 1], [0, 0, 0], [0, 0, 0]], id="missed"),
        pytest.param([(0, ONE, 1, False)], [(0, ONE, 0.5, 1)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]], id="found"),
        pytest.param([(0, ONE, 1, False)], [(0, ONE, 0.5, 2)], [[0, 1, 0], [0, 0, 0], [0, 0, 0]], id="confused"),
        pytest.param(
            [(0, ONE, 1, False)], [(1, ONE, 0.5, 2)], [[0, 0, 1], [0, 0, 0], [0, 1, 0]], id="in another picture"
        ),
        pytest.param([(0, ONE, 1, False)], [(0, ONE, 0.4, 1)], [[0, 0, 1], [0, 0, 0], [0, 0, 0]], id="below the score"),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, ONE, 0.9, 2), (0, SHIFTED, 0.5, 1)],
            [[1, 0, 0], [0, 0, 0], [0, 1, 0]],
            id="the right class comes first, whatever score and IoU",
        ),
        pytest.param(
            [(0, ONE, 1, False)],
            [(0, ONE, 0.9, 1), (0, ONE, 0.8, 1)],
            [[1, 0, 0], [0, 0, 0], [1, 0, 0]],
            id="a duplicate is detected on background",
        ),
        pytest.param(
            [(0, ONE, 1, True)],
            [(0, ONE, 0.9, 1), (0, ONE, 0.8, 1), (0, ONE, 0.7, 2)],
            [[0, 0, 0], [0, 0, 0], [0, 1, 0]],
            id="on a difficult object its class is ignored, another is not",
        ),
        pytest.param(
            [(0, ONE, 1, False), (0, FURTHER, 1, False)],
            [(0, SHIFTED, 0.9, 2), (0, FURTHER, 0.5, 2)],
            [[0, 2, 0], [0, 0, 0], [0, 0, 0]],
            id="the highest IoU is matched first, whatever the score",
        ),
        pytest.param(
            [(0, ONE, 1, False), (0, SHIFTED, 1, False)],
            [(0, ONE, 0.9, 1), (0, ONE, 0.8, 1)],
            [[1, 0, 1], [0, 0, 0], [1, 0, 0]],
            id="on the diagonal is only what the AP counts as found",
        ),
    ],
)
def test_counts(objects: list, detections: list, expected: list) -> None:
    found = confuse(objects_of(*objects), scored_of(*detections), 0.5)
    assert found.counts.tolist() == expected


def test_events_name_detection_and_object() -> None:
    objects = objects_of((0, AWAY, 2, False), (1, ONE, 1, False), (1, AWAY, 1, False))
    found = confuse(objects, scored_of((0, ONE, 0.9, 2), (1, ONE, 0.8, 1), (1, AWAY, 0.7, 2)))
    events = zip(found.truth, found.detected, found.detections, found.objects, strict=True)
    assert sorted(map(tuple, np.array(list(events)).tolist())) == [
        (0, 0, 1, 1),
        (0, 1, 2, 2),
        (1, 2, -1, 0),
        (2, 1, 0, -1),
    ]
    table = confusion_table(found, ["a", "=b"]).splitlines()
    assert table == ["truth,detected", "a,a", "a,'=b", "'=b,(background)", "(background),'=b"]


def test_an_unknown_score_counts_no_detection() -> None:
    """What `mean_score_curve` gives where there is no best score."""
    found = confuse(objects_of((0, ONE, 1, False)), scored_of((0, ONE, 0.9, 1)), np.nan)
    assert found.counts.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


@given(scenes(), st.integers(0, 15), st.sampled_from([0.0, 0.3, 0.5, 0.75]))
@ALWAYS
def test_sums(scene: tuple[Objects, Scored], sixteenths: int, iou_threshold: float) -> None:
    objects, detections = scene
    score = sixteenths / 16
    found = confuse(objects, detections, score, iou_threshold)
    kept = Scored(*(values[detections.scores >= score] for values in detections))
    results = judge(objects, kept, NAMES, iou_threshold)
    assert found.counts[:-1].sum(1).tolist() == [each.objects for each in results]
    assert found.counts[:, :-1].sum(0).tolist() == [len(each.scores) for each in results]  # without those ignored
    assert np.diag(found.counts)[:-1].tolist() == [each.found for each in results]
    assert found.counts[-1, -1] == 0
    assert found.counts.sum() == len(found.truth)
    for indices in (found.detections, found.objects):
        named = indices[indices >= 0]
        assert len(set(named.tolist())) == len(named)
    split = by_image(detections, NAMES, IMAGES)
    both = (found.detections >= 0) & (found.objects >= 0)
    of_detection, of_object = found.detections[both], found.objects[both]
    assert (split.image_index[of_detection] == objects.images[of_object]).all()
    assert (split.labels[of_detection] - 1 == found.detected[both]).all()
    assert (objects.labels[of_object] - 1 == found.truth[both]).all()


@given(truth())
@ALWAYS
def test_perfect_detections_give_the_identity(objects: Objects) -> None:
    found = confuse(objects, perfect(objects))
    easy = np.bincount(objects.labels[~objects.difficult] - 1, minlength=2)
    assert found.counts.tolist() == np.diag([*easy, 0]).tolist()


@given(scenes(), st.permutations(range(IMAGES)))
@ALWAYS
def test_the_order_of_pictures_does_not_count(scene: tuple[Objects, Scored], order: list[int]) -> None:
    other = confuse(*reorder(scene, order), 0.3)
    assert (other.counts == confuse(*scene, 0.3).counts).all()
