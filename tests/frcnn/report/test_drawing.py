import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from frcnn.colors import BLACK, WHITE, YELLOW, class_color
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import Detections
from frcnn.report import canvas, drawing
from frcnn.report.drawing import Mistakes, add_legend, contact_sheet, draw_anchors

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
    mistakes: Mistakes | None = None,
) -> np.ndarray:
    detections = Detections(boxes, np.full(len(boxes), 0.5) if scores is None else scores, labels)
    annotation = None
    if gt_boxes is not None and gt_labels is not None:
        annotation = Annotation("id", Path(), 500, 500, gt_boxes, gt_labels, np.zeros(len(gt_labels), bool))
    return drawing.draw(image, detections, names, annotation, mistakes)


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


GROUNDS = {
    "black": np.zeros((500, 500, 3), np.uint8),
    "white": np.full((500, 500, 3), 255, np.uint8),
    "grass": np.random.default_rng(1).integers((20, 90, 10), (90, 200, 70), (500, 500, 3)).astype(np.uint8),
    "noise": np.random.default_rng(1).integers(0, 256, (500, 500, 3)).astype(np.uint8),
}


@pytest.mark.parametrize("ground", GROUNDS)
def test_ground_truth_stands_out_from_any_ground(ground: str) -> None:
    """White dashes with black edges, with the ground between them."""
    image = draw(GROUNDS[ground], *NOTHING, ["a"], np.array([[100.0, 100, 300, 300]]), np.array([1]))
    left = image[120:280, 100]
    dashes = np.all(left == WHITE, axis=1) & np.all(image[120:280, 99] == BLACK, axis=1)
    assert 0.3 < dashes.mean() < 0.7
    assert 8 < np.count_nonzero(np.diff(dashes)) < 24
    assert np.all(left == GROUNDS[ground][120:280, 100], axis=1).sum() > 40


def test_box_of_the_same_place_is_seen_between_the_dashes() -> None:
    box = np.array([[100.0, 100, 300, 300]])
    image = draw(GREY, box, np.array([1]), None, ["a"], box, np.array([1]))
    left = image[120:280, 100]
    assert np.all(left == WHITE, axis=1).sum() > 40
    assert np.all(left == class_color(1), axis=1).sum() > 40


@pytest.mark.parametrize("label", range(1, 21))
def test_every_color_stands_out_from_any_ground(label: int) -> None:
    """Beside the line lies black or white, whichever differs more: 4.5:1, as WCAG 2.2 wants for text."""

    def luminance(color: np.ndarray) -> float:
        linear = np.where(color <= 10, color / 255 / 12.92, ((color / 255 + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05

    image = draw(GREY, np.array([[100.0, 100, 300, 300]]), np.array([label]), None, ["a"] * 20)
    line, beside = image[200, 100].astype(float), image[200, 99].astype(float)
    np.testing.assert_array_equal(line, class_color(label))
    ratio = luminance(line) / luminance(beside)
    assert max(ratio, 1 / ratio) > 3


def test_mistakes_are_marked() -> None:
    """A wrong detection is dotted and crossed, a missed object named; what is right has one line and one name."""
    boxes, labels = np.array([[40.0, 100, 200, 200], [260, 100, 420, 200]]), np.array([1, 1])
    gt_boxes = np.array([[40.0, 300, 200, 400], [260, 300, 420, 400]])
    mistakes = Mistakes(np.array([False, True]), np.array([False, True]))
    image = draw(GREY, boxes, labels, None, ["a"], gt_boxes, labels, mistakes)
    right, wrong = image[120:180, 40], image[120:180, 260]
    assert np.all(right == class_color(1))
    dots = np.all(wrong == class_color(1), axis=1)
    assert 0.3 < dots.mean() < 0.7
    assert np.all(wrong[~dots] == WHITE)
    letters = [int(colored(image[80:98, a : a + 200], WHITE).sum()) for a in (40, 260)]
    assert letters[1] > letters[0] + 15  # the cross
    found, missed = (int(colored(image[402:430, a : a + 160], BLACK).sum()) for a in (40, 260))
    assert found == 0
    assert missed > 500


def test_without_mistakes_every_object_is_named() -> None:
    box, label = np.array([[40.0, 300, 200, 400]]), np.array([1])
    image = draw(GREY, *NOTHING, ["a"], box, label)
    assert colored(image[402:430, 40:200], BLACK).sum() > 100


@pytest.mark.parametrize("x", [120, 200, 280])
def test_a_name_does_not_cover_a_small_object(x: int) -> None:
    """Small objects lie where the names of others would be: above and below a box, at its left or its right end."""
    big = [200.0, 200, 300, 300]
    small = np.array([[x, 186, x + 12, 198], [x, 302, x + 12, 314], [x + 40, 186, x + 52, 198]], float)
    image = draw(GREY, np.array([big, *small]), np.array([1, 2, 2, 2]), np.array([0.9, 0.1, 0.1, 0.1]), ["nine", "b"])
    free = draw(GREY, small, np.array([2, 2, 2]), np.array([0.1, 0.1, 0.1]), ["nine", "b"])
    for x1, y1, x2, y2 in small.astype(int):
        place = slice(y1, y2), slice(x1, x2)
        np.testing.assert_array_equal(image[place], free[place])


def test_names_of_a_crowd_that_have_no_place_are_left_out() -> None:
    boxes = np.stack([np.repeat(np.arange(25) * 20, 25), np.tile(np.arange(25) * 20, 25)], 1)
    boxes = np.concatenate([boxes, boxes + 16], 1).astype(float)
    image = draw(GREY, boxes, np.ones(625, int), None, ["a name"])
    centers = image[boxes[:, 1].astype(int) + 8, boxes[:, 0].astype(int) + 8]
    assert np.all(centers == GREY[0, 0], axis=1).mean() > 0.95


def test_many_objects_take_linear_time() -> None:
    def seconds(count: int) -> float:
        rng = np.random.default_rng(count)
        corners = rng.uniform(0, 480, (count, 2))
        boxes, labels = np.concatenate([corners, corners + 15], 1), rng.integers(1, 4, count)
        mistakes = Mistakes(rng.random(count) < 0.5, rng.random(count) < 0.5)
        start = time.process_time()
        draw(GREY, boxes, labels, rng.random(count), ["one", "two", "three"], boxes, labels, mistakes)
        return time.process_time() - start

    assert seconds(8000) < 8 * seconds(2000)  # quadratic: 16


@pytest.mark.parametrize(("side", "lines"), [(100, 3), (480, 2), (2000, 1)])
def test_legend_lies_below_the_picture(side: int, lines: int) -> None:
    picture = np.full((50, side, 3), 120, np.uint8)
    image = add_legend(picture, {"solid": "a detection", "dotted": "wrong " * 6, "dashed": "an object"})
    height = max(12, side // 80)
    assert image.shape[0] == 50 + lines * 2 * height
    np.testing.assert_array_equal(image[:50, :side], picture)
    for line in range(lines):
        row = image[50 + 2 * height * line :][: 2 * height]
        assert not colored(row[:, : 4 * height], WHITE).all()  # a line
        assert not colored(row[:, 5 * height :], WHITE).all()  # its text
        assert colored(row[:, -2:], WHITE).all()  # nothing is cut off
    assert not np.array_equal(image, add_legend(picture, {"solid": "a detection"}))


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

    assert thickness(500) == 3
    assert thickness(4000) > 10


@pytest.mark.parametrize(
    "box",
    [(0, 0, 50, 50), (450, 0, 500, 40), (0, 460, 40, 500), (440, 440, 500, 500), (-50, -50, 600, 600), (7, 7, 7, 7)],
    ids=str,
)
def test_text_stays_inside(box: tuple) -> None:
    name = "umbrella"
    image = draw(GREY, np.array([box], np.float32), np.array([2]), np.array([0.5]), ["", name])
    free = draw(GREY, np.array([[200, 200, 400, 400]]), np.array([2]), np.array([0.5]), ["", name])
    letters = [int((each.max(axis=2) < 20)[:, :].sum()) for each in (image, free)]
    assert letters[0] > 0
    ground = [int(colored(each, class_color(2)).sum()) for each in (image, free)]
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
    monkeypatch.setattr(canvas, "MOST_TAGS", 1)
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


def test_anchors_are_yellow_and_objects_dashed() -> None:
    image = draw_anchors(GREY, np.array([[100, 100, 200, 200]]), np.array([[90, 300, 190, 400]]))
    assert tuple(image[100, 100]) == WHITE
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
