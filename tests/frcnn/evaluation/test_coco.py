import sys

import numpy as np
import pytest

from frcnn.evaluation.coco import METRICS
from frcnn.evaluation.voc_ap import Objects, mean_ap
from tests.flat_detections import Scored, judge, judge_coco, objects_of, scored_of

BOX, SHIFTED, AWAY = [0, 0, 100, 100], [10, 0, 110, 100], [500, 500, 600, 600]
RECALLS = np.linspace(0, 1, 101)


def metrics_of(objects: list, detections: list) -> dict[str, float]:
    return judge_coco(objects_of(*objects), scored_of(*detections), images=3, classes=2).metrics


def scaled(box: list, side: float) -> list:
    return [value * side / 100 for value in box]


def test_one_object_found_up_to_an_overlap_of_82_percent() -> None:
    """Found at 0.5, 0.55 ... 0.8, which is 7 of the 10 thresholds; 100 x 100 pixels are large."""
    assert metrics_of([(0, BOX, 1, False)], [(0, [0, 0, 100, 82], 0.9, 1)]) == {
        "AP": 0.7, "AP50": 1, "AP75": 1, "AP_large": 0.7,
        "AR_1": 0.7, "AR_10": 0.7, "AR_100": 0.7, "AR_large": 0.7,
    }  # fmt: skip


def test_a_mistake_between_two_finds() -> None:
    """Precision 1 at the recalls 0 to 0.5, which are 51, and 2/3 at the other 50."""
    objects = [(0, BOX, 1, False), (1, BOX, 1, False)]
    found = metrics_of(objects, [(0, BOX, 0.9, 1), (2, BOX, 0.8, 1), (1, BOX, 0.7, 1)])
    assert found["AP"] == found["AP50"] == found["AP75"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-6)
    assert found["AR_1"] == 1


@pytest.mark.parametrize(("side", "size"), [(31.9, "small"), (32.1, "medium"), (95.9, "medium"), (96.1, "large")])
def test_sizes_are_areas_of_boxes_in_pixels(side: float, size: str) -> None:
    box = scaled(BOX, side)
    found = metrics_of([(0, box, 1, False)], [(0, box, 0.9, 1)])
    assert [name for name in found if "_" in name and name[3:].isalpha()] == [f"AP_{size}", f"AR_{size}"]
    assert set(found.values()) == {1}


def test_recall_with_fewer_detections_of_a_class_and_image() -> None:
    rows = [(0, [x, 0, x + 50, 50], 1, False) for x in range(0, 20 * 60, 60)]
    found = metrics_of(rows, [(image, box, 0.9 - i / 100, label) for i, (image, box, label, _) in enumerate(rows)])
    assert (found["AR_1"], found["AR_10"], found["AR_100"]) == (0.05, 0.5, 1)


def test_detections_after_the_hundredth_do_not_count() -> None:
    wrong = [(0, AWAY, 0.9 - i / 1000, 1) for i in range(100)]
    assert metrics_of([(0, BOX, 1, False)], [*wrong[1:], (0, BOX, 0.1, 1)])["AP"] == pytest.approx(0.01)
    assert metrics_of([(0, BOX, 1, False)], [*wrong, (0, BOX, 0.1, 1)])["AP"] == 0


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        pytest.param([(0, BOX, 1, True)], [(0, BOX, 0.9, 1)], None, id="only difficult objects"),
        pytest.param([(0, BOX, 1, True), (0, AWAY, 1, False)], [(0, AWAY, 0.9, 1)], 1, id="need not be found"),
        pytest.param(
            [(0, BOX, 1, True), (0, AWAY, 1, False)],
            [(0, BOX, 0.9, 1), (0, BOX, 0.8, 1), (0, AWAY, 0.7, 1)],
            1,
            id="any number of detections on one is ignored",
        ),
        pytest.param(
            [(0, BOX, 1, True), (0, AWAY, 1, False)],
            [(0, [0, 0, 100, 40], 0.9, 1), (0, AWAY, 0.8, 1)],
            0.5,
            id="a fragment of one is wrong: its IoU is 0.4, though it lies inside",
        ),
        pytest.param(
            [(0, BOX, 1, True), (0, SHIFTED, 1, False)],
            [(0, BOX, 0.9, 1)],
            1,
            id="an object that is not difficult goes first, where the devkit takes the better fit",
        ),
    ],
)
def test_difficult_objects_are_ignored(objects: list, detections: list, expected: float | None) -> None:
    assert metrics_of(objects, detections).get("AP50") == expected


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        pytest.param([], [], {}, id="nothing at all"),
        pytest.param([], [(0, BOX, 0.9, 1)], {}, id="no object"),
        pytest.param(
            [(0, BOX, 1, False)],
            [],
            {name: 0 for name in METRICS if not name.endswith(("small", "medium"))},
            id="nothing detected",
        ),
    ],
)
def test_what_no_object_defines_is_left_out(objects: list, detections: list, expected: dict) -> None:
    assert metrics_of(objects, detections) == expected


def test_ap_of_each_class() -> None:
    objects = objects_of((0, BOX, 1, False), (0, BOX, 3, False))
    detections = scored_of((0, BOX, 0.9, 1), (0, BOX, 0.9, 2), (0, [0, 0, 100, 82], 0.9, 3))
    result = judge_coco(objects, detections, images=1, classes=3)
    np.testing.assert_allclose(result.ap, [1, np.nan, 0.7])
    assert result.metrics["AP"] == 0.85


def test_nothing_is_printed(capsys: pytest.CaptureFixture) -> None:
    metrics_of([(0, BOX, 1, False)], [(0, BOX, 0.9, 1)])
    assert capsys.readouterr() == ("", "")


def separated_case(seed: int) -> tuple[Objects, Scored]:
    """Draw objects, a third difficult, too far apart to share a detection; shifted copies of them and mistakes."""
    rng = np.random.default_rng(seed)
    objects, detections = [], []
    for image in range(12):
        for cell in rng.permutation(16)[: rng.integers(1, 12)]:
            corner = np.array([cell % 4, cell // 4]) * 300 + rng.uniform(0, 50, 2)
            box = np.concatenate([corner, corner + rng.uniform(20, 200, 2)])
            label = int(rng.integers(1, 4))
            objects.append((image, box, label, rng.random() < 1 / 3))
            size = np.tile(box[2:] - box[:2], 2)
            for _ in range(rng.integers(0, 4)):
                detections.append((image, box + rng.normal(0, 0.08, 4) * size, rng.random(), label))
        for _ in range(rng.integers(0, 5)):
            corner = rng.uniform(1300, 2000, 2)
            detections.append((image, np.concatenate([corner, corner + 50]), rng.random(), int(rng.integers(1, 4))))
    return objects_of(*objects), scored_of(*detections)


@pytest.mark.parametrize("seed", range(10))
def test_where_objects_are_apart_ap50_is_the_devkits_but_for_the_recalls_it_is_read_at(seed: int) -> None:
    objects, detections = separated_case(seed)
    ours = judge(objects, detections, ["a", "b", "c"], 0.5)
    coco = judge_coco(objects, detections, images=12, classes=3)
    at_101 = []
    for result in ours:
        envelope = np.append(np.maximum.accumulate(result.precisions[::-1])[::-1], 0)
        at_101.append(envelope[np.searchsorted(result.recalls, RECALLS)].mean())
        assert at_101[-1] == pytest.approx(result.ap["area"], abs=0.01)
    assert coco.metrics["AP50"] == pytest.approx(np.mean(at_101), abs=1e-6)
    assert coco.metrics["AP50"] == pytest.approx(mean_ap(ours, "area"), abs=0.01)
    assert 0.05 < coco.metrics["AP75"] < coco.metrics["AP50"] < 0.95
    assert sum(result.detections - len(result.scores) for result in ours) > 10  # on difficult objects


def test_where_objects_overlap_a_second_detection_takes_the_second_object() -> None:
    objects, detections = objects_of((0, BOX, 1, False), (0, SHIFTED, 1, False)), [(0, BOX, 0.9, 1), (0, BOX, 0.8, 1)]
    [devkit] = judge(objects, scored_of(*detections), ["a"], 0.5)
    assert devkit.ap["area"] == 0.5
    assert judge_coco(objects, scored_of(*detections), 1, 1).metrics["AP50"] == 1


def test_an_overlap_of_the_threshold_itself_is_enough() -> None:
    objects, detections = objects_of((0, BOX, 1, False)), scored_of((0, [0, 0, 100, 50], 0.9, 1))
    assert judge(objects, detections, ["a"], 0.5)[0].ap["area"] == 0
    assert judge_coco(objects, detections, 1, 1).metrics["AP50"] == 1


def test_the_other_rules_do_not_import_cocos() -> None:
    import subprocess

    code = "import sys, stages.commands, frcnn.detections.hdf5, frcnn.evaluation.voc_ap, frcnn.evaluation.tables"
    code += "; print([name for name in sys.modules if name.startswith('faster_coco_eval')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
