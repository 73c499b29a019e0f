"""What the page shows of a project that can be worked out on paper (tests/report_project.py)."""

from pathlib import Path

import numpy as np
import pytest

from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.voc_ap import evaluate_arrays, objects_of
from frcnn.params import Params
from frcnn.report.page.content import Content, Known, Measured, error_kinds, gather, measure
from frcnn.report.page.html import page_html
from frcnn.report.page.origin import origin_of
from frcnn.report.page.thresholds import thresholds_of
from tests.report_project import ARABIC, FORMULA, IDS, NAMES, SCRIPT, all_wrong, nothing, some_detections, write_dataset

BETTER_SCORE = 0.299999  # what summary.json calls the score of the best F1: just below 0.3


@pytest.fixture
def dataset(tmp_path: Path) -> VocDataset:
    return VocDataset(write_dataset(tmp_path / "dataset"))


def content_of(dataset: VocDataset, detections: SplitDetections) -> Content:
    annotations, params = dataset.annotations("test", "voc"), Params()
    measured = measure(annotations, detections, 0.5)
    origin = origin_of(params, detections, annotations, annotations, Path("absent"))
    return gather(measured, annotations, params, Known(origin, {}, {}), None)


def measured_of(dataset: VocDataset, detections: SplitDetections) -> Measured:
    return measure(dataset.annotations("test", "voc"), detections, 0.5)


def test_counts_at_every_threshold(dataset: VocDataset) -> None:
    detections = some_detections()
    results = evaluate_arrays(objects_of(dataset.annotations("test", "voc"), detections), detections, 0.5)
    thresholds = thresholds_of(results, 0.65)
    assert thresholds.scores[thresholds.best] == 0.65
    assert len(thresholds.scores) == 101  # 0.65 was among them
    at = {score: int(np.abs(thresholds.scores - score).argmin()) for score in (0, 0.5, 0.65, 0.75, 0.85, 1)}
    found = {score: thresholds.found[:, step].tolist() for score, step in at.items()}
    assert found == {0: [5, 1, 0], 0.5: [4, 1, 0], 0.65: [4, 1, 0], 0.75: [4, 0, 0], 0.85: [2, 0, 0], 1: [0, 0, 0]}
    counted = {score: thresholds.detections[:, step].tolist() for score, step in at.items()}
    assert counted == {0: [5, 2, 1], 0.5: [4, 2, 1], 0.65: [4, 1, 1], 0.75: [4, 0, 1], 0.85: [2, 0, 1], 1: [0, 0, 0]}
    assert thresholds.steps_of(np.array([-1, 0, 0.655, 2])).tolist() == [-1, 0, 65, 100]


def test_a_best_score_between_the_steps_is_one_more(dataset: VocDataset) -> None:
    measured = measured_of(dataset, some_detections())
    assert len(measured.thresholds.scores) == 102
    assert measured.score == pytest.approx(BETTER_SCORE)


def test_rates_at_the_best_score(dataset: VocDataset) -> None:
    measured = measured_of(dataset, some_detections())
    first, second, third = (row.at_best for row in measured.rows)
    assert (first.found, first.missed, first.wrong) == (5, 1, 0)
    assert (second.found, second.missed, second.wrong) == (1, 2, 1)
    assert (third.found, third.missed, third.wrong) == (0, 0, 1)
    assert first.f1 == pytest.approx(10 / 11)
    assert (second.precision, second.recall, second.f1) == pytest.approx((1 / 2, 1 / 3, 2 / 5))
    assert np.isnan(third.recall)
    total = measured.total.at_best
    assert (total.found, total.missed, total.wrong) == (6, 3, 2)
    # The third class has no object and counts in no mean.
    assert (total.precision, total.recall) == pytest.approx((3 / 4, 7 / 12))
    assert total.f1 == pytest.approx((10 / 11 + 2 / 5) / 2)
    assert total.f1 == pytest.approx(measured.total.best_f1)


def test_intervals_hold_the_measure(dataset: VocDataset) -> None:
    for row in measured_of(dataset, some_detections()).rows[:2]:
        for rule, (low, high) in row.intervals.items():
            assert low <= row.ap[rule] <= high


def test_the_matrix_leads_to_its_pictures(dataset: VocDataset) -> None:
    matrix = content_of(dataset, some_detections()).matrix
    cells = [[cell.count for cell in row] for row in matrix.rows]
    assert cells == [[5, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    pictures = {cell.key: cell.picture for row in matrix.rows for cell in row if cell.count}
    assert pictures == {"0-0": 0, "0-3": 5, "1-1": 0, "1-2": 1, "1-3": 2, "3-1": 3}
    assert [cell.share for cell in matrix.rows[1]] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


def test_pictures_say_why_they_are_shown(dataset: VocDataset) -> None:
    shown = {each.picture.index: each for each in content_of(dataset, some_detections()).pictures}
    assert shown[1].groups == ["worst", "alarm", "missed", "suspicious", "random"]
    assert f"false alarm: {ARABIC} 0.95" in shown[1].reasons
    assert f"missed, medium: {SCRIPT}" in shown[5].reasons  # 30 x 40 pixels are more than 32 x 32
    assert shown[0].groups == ["random"]
    assert set(shown[3].cells) == {"0-0", "3-1"}
    states = {(box.state, box.text) for box in shown[1].picture.boxes}
    assert states == {
        ("found", f"{SCRIPT} 0.90"), ("wrong", f"✗ {ARABIC} 0.95"), ("object", f"missed {SCRIPT}"),
        ("object", f"missed {FORMULA}"),
    }  # fmt: skip
    steps = {box.text: box.step for box in shown[1].picture.boxes if box.state == "object"}
    assert steps == {
        f"missed {SCRIPT}": 90,
        f"missed {FORMULA}": -1,
    }  # in float32 0.9 is less; the best score is a step, too


def test_errors_are_counted_by_type(dataset: VocDataset) -> None:
    kinds = {kind.title: kind for kind in error_kinds(measured_of(dataset, some_detections()))}
    counts = {name: kind.count for name, kind in kinds.items() if kind.count}
    assert counts == {"classification": 1, "background": 1, "missed": 2}
    assert max(kind.share for kind in kinds.values()) == 1


@pytest.mark.parametrize("detections", [nothing(), all_wrong()], ids=["nothing is detected", "all is wrong"])
def test_a_detector_that_finds_nothing(dataset: VocDataset, detections: SplitDetections) -> None:
    content = content_of(dataset, detections)
    assert content.measured.score == 0.5
    assert not content.measured.defined
    assert content.measured.total.at_best.missed == 9
    assert content.measured.total.ap["area"] == 0
    assert "Nothing is found at any score" in page_html(content)


def test_the_same_content_gives_the_same_page(dataset: VocDataset) -> None:
    one, other = (page_html(content_of(dataset, some_detections())) for _ in range(2))
    assert one == other


def test_names_are_only_text_on_the_page(dataset: VocDataset) -> None:
    page = page_html(content_of(dataset, some_detections()))
    for hostile in (SCRIPT, IDS[0], "alert(1)>", FORMULA):
        assert hostile not in page
    assert page.count("<script") == 2
    assert ARABIC in page


def test_a_picture_that_is_large_or_noisy_stays_small(tmp_path: Path) -> None:
    from PIL import Image

    dataset = write_dataset(tmp_path / "dataset", NAMES)
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    for path in (dataset / "JPEGImages").iterdir():
        Image.fromarray(noise).save(path)
    content = content_of(VocDataset(dataset), some_detections())
    for each in content.pictures:
        assert max(each.picture.width, each.picture.height) == 480
    assert max(len(each.picture.jpeg) for each in content.pictures) < 140_000
