import json
from pathlib import Path

import numpy as np
import pytest

from frcnn.boxes import iou
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import Detections, join_detections
from frcnn.evaluation.matching import match_reference, pair
from frcnn.evaluation.voc_ap import (
    RULES,
    Objects,
    average_precision,
    evaluate,
    mean_ap,
    precision_recall,
    summarize,
)
from tests.flat_detections import Scored, judge, objects_of, scored_of

BOX, SHIFTED, AWAY = [0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def ap_of(objects: Objects, detections: Scored, iou_threshold: float = 0.5) -> list[float]:
    [result] = judge(objects, detections, ["thing"], iou_threshold)
    return [result.ap[rule] for rule in RULES]


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        pytest.param([], [], [np.nan] * 3, id="nothing at all"),
        pytest.param([], [(0, BOX, 0.9, 1)], [np.nan] * 3, id="class without objects"),
        pytest.param([(0, BOX, 1, True)], [(0, BOX, 0.9, 1)], [np.nan] * 3, id="only difficult objects"),
        pytest.param([(0, BOX, 1, False)], [], [0, 0, 0], id="nothing detected"),
        pytest.param([(0, BOX, 1, False)], [(0, BOX, 0.9, 1)], [1, 1, 1], id="perfect"),
        pytest.param([(0, BOX, 1, False)], [(1, BOX, 0.9, 1)], [0, 0, 0], id="right box in another image"),
        pytest.param(
            [(0, BOX, 1, False)], [(0, BOX, 0.9, 1), (0, BOX, 0.8, 1)], [1, 1, 1], id="duplicate of lower score"
        ),
        pytest.param(
            [(0, BOX, 1, False), (1, BOX, 1, False)],
            [(0, BOX, 0.9, 1), (0, SHIFTED, 0.8, 1), (1, BOX, 0.7, 1)],
            [(6 * 1 + 5 * 2 / 3) / 11, 0.5 + 0.5 * 2 / 3, 0.5 + 0.5 * 2 / 3],
            id="duplicate between two finds is wrong",
        ),
        pytest.param(
            [(0, BOX, 1, False), (0, AWAY, 1, True)],
            [(0, AWAY, 0.9, 1), (0, AWAY, 0.8, 1), (0, BOX, 0.7, 1)],
            [1, 1, 1 / 3],
            id="any number of detections on a difficult object are ignored, but wrong for the reference",
        ),
        pytest.param(
            [(0, BOX, 1, False), (0, SHIFTED, 1, True)],
            [(0, SHIFTED, 0.9, 1)],
            [0, 0, 1],
            id="the devkit gives a detection to the difficult object that fits better",
        ),
        pytest.param(
            [(0, BOX, 1, False), (0, SHIFTED, 1, False)],
            [(0, BOX, 0.9, 1), (0, BOX, 0.8, 1)],
            [(6 * 1 + 5 * 0) / 11, 0.5, 1],
            id="second detection goes to the second object only for the reference",
        ),
    ],
)
def test_rules_on_one_class(objects: list, detections: list, expected: list) -> None:
    np.testing.assert_allclose(ap_of(objects_of(*objects), scored_of(*detections)), expected, rtol=1e-6)


def test_iou_must_exceed_the_threshold() -> None:
    half = [0, 0, 10, 5]
    objects, detections = objects_of((0, BOX, 1, False)), scored_of((0, half, 0.9, 1))
    assert ap_of(objects, detections, 0.5) == [0, 0, 0]
    assert ap_of(objects, detections, 0.499) == [1, 1, 1]


def test_threshold_is_strict_where_float32_rounds() -> None:
    # 4095 x 4095 pixels are beyond what float32 counts exactly.
    objects, detections = objects_of((0, [0, 0, 4095, 4094], 1, False)), scored_of((0, [0, 0, 4095, 2047], 0.9, 1))
    assert ap_of(objects, detections) == [0, 0, 0]


def test_perfect_but_unsorted_input_scores_one() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 300, (40, 2))
    boxes = np.concatenate([corners, corners + 40], 1)
    rows = [(i % 7, boxes[i], 1 + i % 3) for i in range(40)]
    good = [(image, box, 0.5 + i / 100, label) for i, (image, box, label) in enumerate(rows)]
    poor = [(image, box + [0, 0, 9, 9], 0.4 - i / 100, label) for i, (image, box, label) in enumerate(rows)]
    order = rng.permutation(80)
    objects = objects_of(*((image, box, label, False) for image, box, label in rows))
    detections = scored_of(*[(good + poor)[i] for i in order])
    for result in judge(objects, detections, ["a", "b", "c"], 0.5):
        assert list(result.ap.values()) == pytest.approx([1, 1, 1])
        assert result.recall == 1


def test_order_of_input_does_not_matter() -> None:
    objects, detections = random_case(3, equal_scores=False)
    order = np.random.default_rng(1).permutation(len(detections.scores))
    shuffled = Scored(*(values[order] for values in detections))
    one, other = (judge(objects, case, ["a", "b"], 0.5) for case in (detections, shuffled))
    assert [result.ap for result in one] == [result.ap for result in other]


def test_means_leave_out_classes_without_objects() -> None:
    objects = objects_of((0, BOX, 1, False), (0, BOX, 3, False))
    results = judge(objects, scored_of((0, BOX, 0.9, 1), (0, BOX, 0.9, 2)), ["a", "b", "c"], 0.5)
    assert [mean_ap(results, rule) for rule in RULES] == [0.5, 0.5, 0.5]
    summary = summarize(results, images=1)
    assert summary["AP_voc07"] == {"a": 1, "c": 0}
    assert summary["recall"] == 0.5
    assert (summary["objects"], summary["detections"]) == (2, 2)


@pytest.mark.parametrize("names", [[], ["a"]])
def test_summary_of_nothing_has_no_nan(names: list[str]) -> None:
    results = judge(objects_of(), scored_of(), names, 0.5)
    text = json.dumps(summarize(results, images=0), allow_nan=False)
    assert "mAP" not in text
    assert np.isnan(mean_ap(results, "area"))


def test_annotations_and_detections_have_one_order() -> None:
    def annotation(name: str, box: list) -> Annotation:
        return Annotation(name, Path(), 99, 99, np.array([box], np.float32), np.array([1]), np.array([False]))

    found = [Detections(np.array([box]), np.array([0.9]), np.array([1])) for box in (AWAY, BOX)]
    detections = join_detections(["second", "first"], ["a"], found)
    [result] = evaluate([annotation("second", AWAY), annotation("first", BOX)], detections, 0.5)
    assert result.ap == {"voc07": 1, "area": 1, "reference": 1}
    with pytest.raises(ValueError, match="in the same order"):
        evaluate([annotation("first", BOX), annotation("second", AWAY)], detections, 0.5)


def test_eleven_points_and_area_of_a_curve() -> None:
    recalls, precisions = np.array([0.25, 0.25, 0.75]), np.array([1, 0.5, 2 / 3])
    assert average_precision(recalls, precisions, "voc07") == pytest.approx((3 * 1 + 5 * 2 / 3) / 11)
    assert average_precision(recalls, precisions, "area") == pytest.approx(0.25 + 0.5 * 2 / 3)


def random_case(seed: int, equal_scores: bool) -> tuple[Objects, Scored]:
    """Draw crowded boxes in few images, so that they compete for each other."""
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corners = rng.uniform(0, 30, (count, 2))
        return np.concatenate([corners, corners + rng.uniform(20, 40, (count, 2))], 1)

    objects = Objects(rng.integers(0, 6, 40), boxes(40), rng.integers(1, 3, 40), rng.random(40) < 0.3)
    scores = rng.integers(0, 9, 200) / 10 if equal_scores else rng.random(200)
    return objects, Scored(np.sort(rng.integers(0, 6, 200)), boxes(200), scores, rng.integers(1, 3, 200))


def slow_devkit(objects: Objects, detections: Scored, label: int, threshold: float) -> np.ndarray:
    """Judge as the devkit's loops do, by descending score; 1, 0 or -1 for each detection of the class."""
    taken, verdict = set(), []
    for i in sorted(np.flatnonzero(detections.labels == label), key=lambda i: -detections.scores[i]):
        rows = np.flatnonzero((objects.images == detections.images[i]) & (objects.labels == label))
        overlaps = iou(detections.boxes[i : i + 1], objects.boxes[rows])[0]
        best = int(overlaps.argmax()) if len(rows) else -1
        if best < 0 or overlaps[best] <= threshold:
            verdict.append(0)
        elif objects.difficult[rows[best]]:
            verdict.append(-1)
        else:
            verdict.append(int(rows[best] not in taken))
            taken.add(rows[best])
    return np.array(verdict)


def slow_reference(objects: Objects, detections: Scored, label: int, threshold: float) -> np.ndarray:
    """Judge as the reference's loops do; 1 or 0 for each detection of the class, by descending score."""
    order = sorted(np.flatnonzero(detections.labels == label), key=lambda i: -detections.scores[i])
    taken = set()
    for row in np.flatnonzero((objects.labels == label) & ~objects.difficult):
        for i in order:
            overlap = iou(detections.boxes[i : i + 1], objects.boxes[row : row + 1])[0, 0]
            if detections.images[i] == objects.images[row] and overlap > threshold and i not in taken:
                taken.add(i)
                break
    return np.array([int(i in taken) for i in order])


@pytest.mark.parametrize("equal_scores", [False, True], ids=["scores differ", "equal scores"])
@pytest.mark.parametrize("seed", range(3))
def test_vectorized_matching_equals_plain_loops(seed: int, equal_scores: bool) -> None:
    objects, detections = random_case(seed, equal_scores)
    for label, result in enumerate(judge(objects, detections, ["a", "b"], 0.5), start=1):
        total = int(np.sum((objects.labels == label) & ~objects.difficult))
        verdict = slow_devkit(objects, detections, label, 0.5)
        recalls, precisions = precision_recall(verdict[verdict >= 0], total)
        np.testing.assert_array_equal(result.recalls, recalls)
        np.testing.assert_array_equal(result.precisions, precisions)
        reference = precision_recall(slow_reference(objects, detections, label, 0.5), total)
        assert result.ap["reference"] == pytest.approx(average_precision(*reference, "reference"))


@pytest.mark.golden
def test_devkit_rules_equal_the_golden_numbers(golden: Path) -> None:
    file = load(golden / "average_precision_voc_devkit.npz")
    truth, found = file["gt_image_class_x1y1x2y2_difficult"], file["det_image_class_x1y1x2y2_score"]
    to_continuous = np.array([-1, -1, 0, 0])  # from inclusive pixels
    objects = Objects(truth[:, 0], truth[:, 2:6] + to_continuous, truth[:, 1] + 1, truth[:, 6] > 0)
    images, labels = found[:, 0].astype(int), found[:, 1].astype(int) + 1
    detections = Scored(images, found[:, 2:6] + to_continuous, found[:, 6], labels)
    results = judge(objects, detections, ["a", "b", "c", "d"], 0.5)
    np.testing.assert_allclose([result.ap["voc07"] for result in results], file["ap_voc07_11point"], atol=1e-6, rtol=0)
    np.testing.assert_allclose([result.ap["area"] for result in results], file["ap_area"], atol=1e-6, rtol=0)


@pytest.mark.golden
def test_reference_rule_equals_the_golden_numbers(golden: Path) -> None:
    """The reference matches in the order of its list, which in this file is not that of the scores (our own is)."""
    file = load(golden / "average_precision_reference_rule.npz")
    all_truth, all_found = file["gt_image_class_y1x1y2x2"], file["det_image_class_y1x1y2x2_score"]
    to_xyxy = [3, 2, 5, 4]
    values = []
    for label in range(1, 6):
        truth, found = (rows[rows[:, 1] == label] for rows in (all_truth, all_found))
        pairs = pair(found[:, 0], found[:, to_xyxy], truth[:, 0], truth[:, to_xyxy])
        verdict = match_reference(pairs, len(found), np.zeros(len(truth), np.bool_), 0.5)
        by_score = np.argsort(-found[:, 6], kind="stable")
        values.append(average_precision(*precision_recall(verdict[by_score], len(truth)), "reference"))
    np.testing.assert_allclose(values, file["ap_by_class_1_to_5"], atol=1e-6, rtol=0)
    assert np.mean(values) == pytest.approx(float(file["map"]), abs=1e-6)
