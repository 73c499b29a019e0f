from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import Detections
from frcnn.report import drawing
from frcnn.report.drawing import GREEN, WHITE, YELLOW, class_color, contact_sheet, draw_anchors

GREY = np.full((500, 500, 3), 120, np.uint8)
NOTHING = np.empty((0, 4)), np.empty(0, np.int64), np.empty(0)


def draw(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    names: Sequence[str],
    gt_boxes: np.ndarray | None = None,
    gt_labels: np.ndarray | None = None,
) -> np.ndarray:
    detections = Detections(boxes, np.full(len(boxes), 0.5) if scores is None else scores, labels)
    annotation = None
    if gt_boxes is not None and gt_labels is not None:
        annotation = Annotation("id", Path(), 500, 500, gt_boxes, gt_labels, np.zeros(len(gt_labels), bool))
    return drawing.draw(image, detections, names, annotation)


def colored(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Return where the image has exactly this color, (H, W) bool."""
    return np.all(image == color, axis=2)


def test_nothing_to_draw_leaves_the_picture() -> None:
    np.testing.assert_array_equal(draw(GREY, *NOTHING, ["a"]), GREY)


def test_input_is_not_changed() -> None:
    before = GREY.copy()
    draw(GREY, np.array([[10, 10, 99, 99]]), np.array([1]), None, ["a"])
    np.testing.assert_array_equal(GREY, before)


def test_box_has_the_color_of_its_class_where_it_belongs() -> None:
    image = draw(GREY, np.array([[100.0, 200, 300, 400]]), np.array([2]), np.array([0.93]), ["a", "b"])
    mine = colored(image, class_color(2))
    assert mine[300, 100]
    assert mine[300, 299]
    assert mine[200, 290]
    assert mine[399, 200]
    np.testing.assert_array_equal(image[300, 200], GREY[0, 0])
    rows, columns = np.nonzero(mine)
    assert (columns.min(), columns.max(), rows.max()) == (100, 299, 399)
    assert rows.min() < 195  # the ground of the text, above the box
    assert not colored(image, class_color(1)).any()


def test_ground_truth_is_dashed_and_green() -> None:
    image = draw(GREY, *NOTHING, ["a"], np.array([[100.0, 100, 300, 300]]), np.array([1]))
    left = colored(image, GREEN)[120:280, 100]
    assert 0.4 < left.mean() < 0.9
    assert np.count_nonzero(np.diff(left)) > 8


@pytest.mark.parametrize(("side", "factor"), [(1, 480), (100, 5), (240, 2), (330, 1), (480, 1), (4000, 1)])
def test_small_pictures_are_enlarged_by_a_whole_factor(side: int, factor: int) -> None:
    image = draw(np.zeros((side, side, 3), np.uint8), np.array([[0, 0, side, side]]), np.array([1]), None, ["a"])
    assert image.shape == (side * factor, side * factor, 3)
    assert colored(image, class_color(1))[-1].all()


def test_lines_grow_with_the_picture() -> None:
    def thickness(side: int) -> int:
        box = np.array([[0.2, 0.2, 0.8, 0.8]]) * side
        image = draw(np.zeros((side, side, 3), np.uint8), box, np.array([1]), None, ["a"])
        return int(colored(image, class_color(1))[side // 2, : side // 2].sum())

    assert thickness(500) == 2
    assert thickness(4000) > 10


@pytest.mark.parametrize(
    "box",
    [(0, 0, 50, 50), (450, 0, 500, 40), (0, 460, 40, 500), (440, 440, 500, 500), (-50, -50, 600, 600), (7, 7, 7, 7)],
    ids=str,
)
def test_text_stays_inside(box: tuple) -> None:
    name = "umbrella"
    image = draw(GREY, np.array([box], np.float32), np.array([6]), np.array([0.5]), [""] * 5 + [name])
    free = draw(GREY, np.array([[200, 200, 400, 400]]), np.array([6]), np.array([0.5]), [""] * 5 + [name])
    letters = [int((each.max(axis=2) < 20)[:, :].sum()) for each in (image, free)]
    assert letters[0] > 0
    ground = [int(colored(each, class_color(6)).sum()) for each in (image, free)]
    assert ground[0] > 400  # the ground of the text is there whole, not cut by the border


def test_texts_of_equal_boxes_do_not_hide_each_other() -> None:
    boxes = np.repeat([[200.0, 200, 300, 300]], 4, axis=0)
    image = draw(GREY, boxes, np.array([1, 2, 3, 4]), np.array([0.9, 0.8, 0.7, 0.6]), ["one", "two", "three", "four"])
    alone = draw(GREY, boxes[:1], np.array([1]), np.array([0.9]), ["one", "two", "three", "four"])
    least = 0.5 * colored(alone, class_color(1)).sum()
    for label in range(2, 5):
        outside = colored(image, class_color(label)).copy()
        assert outside.sum() > 0.2 * least


def test_of_very_many_only_the_best_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "MOST_TAGS", 1)
    boxes = np.array([[20.0, 100, 220, 180], [280, 300, 480, 380]])
    image = draw(GREY, boxes, np.array([1, 2]), np.array([0.8, 0.9]), ["one", "two"])
    named, unnamed = colored(image, class_color(2)).sum(), colored(image, class_color(1)).sum()
    assert 0 < unnamed < named


@pytest.mark.parametrize("name", ["", "кошка", "飞机", "🛩️", "a\nb", "x" * 300], ids=ascii)
def test_any_class_name_is_written(name: str) -> None:
    image = draw(GREY, np.array([[9, 9, 99, 99]]), np.array([1]), np.array([1.0]), [name])
    assert colored(image, class_color(1)).any()


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [("кошка", "мышка", False), ("γάτα", "άλφα", False), ("\U0010fff0", "class 1", True), ("a", "a", True)],
    ids=ascii,
)
def test_names_are_legible(first: str, second: str, equal: bool) -> None:
    """A letter that a font lacks would be the same box for all; the class number is written where no font has it."""
    boxes, labels = np.array([[9.0, 40, 99, 99]]), np.array([1])
    images = [draw(GREY, boxes, labels, None, [name], boxes, labels) for name in (first, second)]
    assert np.array_equal(*images) == equal


def test_huge_ribbon() -> None:
    image = np.zeros((3, 20_000, 3), np.uint8)
    assert draw(image, np.array([[5, 0, 900, 3]]), np.array([1]), np.array([0.5]), ["a"]).shape == image.shape


def test_class_colors_differ() -> None:
    colors = [class_color(label) for label in range(1, 31)]
    assert colors == [class_color(label) for label in range(1, 31)]
    assert len(set(colors)) == 30
    first = np.array(colors[:12], int)
    distances = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert distances.min() > 60
    assert np.abs(np.array(colors) - GREEN).sum(1).min() > 100


def test_anchors_are_yellow_and_objects_green() -> None:
    image = draw_anchors(GREY, np.array([[100, 100, 200, 200]]), np.array([[90, 300, 190, 400]]))
    assert tuple(image[150, 100]) == GREEN
    assert tuple(image[350, 90]) == YELLOW


def test_no_anchors_and_no_objects() -> None:
    np.testing.assert_array_equal(draw_anchors(GREY, np.empty((0, 4)), np.empty((0, 4))), GREY)


@pytest.mark.parametrize(("count", "columns"), [(0, 1), (1, 1), (2, 2), (5, 3), (8, 4), (9, 3), (20, 4)])
def test_contact_sheet_holds_every_picture(count: int, columns: int) -> None:
    images = [np.full((300 + 10 * i, 400, 3), 5 * i, np.uint8) for i in range(count)]
    sheet = contact_sheet(images, cell=100, gap=4)
    assert sheet.shape[1] <= columns * 104 + 4
    for i in range(count):
        assert colored(sheet, (5 * i,) * 3).sum() > 4000
    assert colored(sheet, WHITE).any()
