"""COCO's measures equal those of pycocotools, in which difficult objects are ignored at their IoU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.coco_measures import by_pycocotools
from frcnn.evaluation.coco import evaluate_coco_arrays
from frcnn.evaluation.voc_ap import Objects
from tests.flat_detections import Scored, by_image, objects_of, scored_of

BOX, AWAY = [0, 0, 100, 100], [500, 500, 600, 600]
IMAGES, CLASSES = 4, 3


def assert_equal(objects: Objects, scored: Scored) -> dict[str, float]:
    detections = by_image(scored, [str(label) for label in range(CLASSES)], IMAGES)
    expected, result = by_pycocotools(objects, detections), evaluate_coco_arrays(objects, detections)
    assert result.metrics == pytest.approx(expected.metrics, abs=1e-6)
    np.testing.assert_allclose(result.ap, expected.ap, atol=1e-12)
    return result.metrics


# Few places, sizes and scores, so that boxes overlap at the thresholds themselves and scores are equal.
STEP = st.sampled_from([0, 10, 20, 25, 50, 100])
SPANS = st.tuples(STEP, STEP, st.sampled_from([10, 20, 31, 32, 50, 96, 100]), st.sampled_from([10, 20, 50, 100]))
BOXES = SPANS.map(lambda span: [span[0], span[1], span[0] + span[2], span[1] + span[3]])
WHERE = st.integers(0, IMAGES - 1), BOXES, st.integers(1, CLASSES)
OBJECTS = st.lists(st.tuples(*WHERE, st.booleans()), max_size=12)
FOUND = st.lists(st.tuples(*WHERE[:2], st.sampled_from([0.1, 0.5, 0.5, 0.9]), WHERE[2]), max_size=25)


@settings(max_examples=300, deadline=None)
@given(OBJECTS, FOUND)
def test_equal_on_few_places_and_scores(objects: list, found: list) -> None:
    assert_equal(objects_of(*objects), scored_of(*found))


def crowded(seed: int, difficult: float) -> tuple[Objects, Scored]:
    """Draw overlapping objects of all sizes, shifted copies of nine scores, 150 of a class in one image, mistakes."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for image, count in enumerate((12, 3, 0, 60)):
        corners = rng.uniform(0, 200, (count, 2))
        boxes = np.concatenate([corners, corners + np.exp(rng.uniform(2, 5.5, (count, 2)))], 1)
        labels = rng.integers(1, CLASSES, count)  # none of the last class
        objects += zip([image] * count, boxes, labels, rng.random(count) < difficult, strict=True)
        for _ in range(5):
            shifted = boxes + rng.normal(0, 0.08, (count, 4)) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
            scores = rng.integers(1, 10, count) / 10
            found += zip([image] * count, shifted, scores, labels, strict=True)
        found += [(image, [300, 300, 310 + i, 330], 0.05, int(rng.integers(1, CLASSES + 1))) for i in range(5)]
    return objects_of(*objects), scored_of(*found)


@pytest.mark.parametrize("difficult", [0, 0.3, 1])
@pytest.mark.parametrize("seed", range(5))
def test_equal_on_crowded_images(seed: int, difficult: float) -> None:
    metrics = assert_equal(*crowded(seed, difficult))
    assert (0.1 < metrics["AP75"] < metrics["AP50"] < 0.99) if difficult < 1 else not metrics


@pytest.mark.parametrize(
    ("objects", "found"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([], [(0, BOX, 0.5, 1)], id="no objects"),
        pytest.param([(0, BOX, 1, False)], [], id="no detections"),
        pytest.param([(0, BOX, 1, False)], [(0, BOX, 0.9, 1), (0, BOX, 0.9, 2)], id="a class without objects"),
        pytest.param([(0, BOX, 1, False)], [(1, BOX, 0.9, 1)], id="object and detection in different images"),
        pytest.param([(0, BOX, 1, True)], [(0, BOX, 0.9, 1), (0, BOX, 0.8, 1)], id="only a difficult object"),
        pytest.param([(0, BOX, 1, False), (0, BOX, 1, True)], [(0, BOX, 0.9, 1)] * 3, id="one difficult, one not"),
        pytest.param([(0, BOX, 1, False)] * 2, [(0, AWAY, 0.5, 1), (0, BOX, 0.5, 1)] * 3, id="equal scores"),
        pytest.param([(0, BOX, 1, False)], [(0, AWAY, 0.5, 1)] * 100 + [(0, BOX, 0.5, 1)], id="the 101st"),
        pytest.param([(0, BOX, 1, False)], [(0, AWAY, 0.5, 1)] * 150 + [(0, BOX, 0.6, 1)], id="151 detections"),
        pytest.param([(0, [5, 5, 5, 9], 1, False)], [(0, [5, 5, 5, 9], 0.5, 1)], id="box without area"),
    ],
)
def test_equal_at_the_edges(objects: list, found: list) -> None:
    assert_equal(objects_of(*objects), scored_of(*found))
