"""Figures of a training split, worked out by hand."""

from pathlib import Path

import numpy as np
import pytest

from frcnn.advice.figures import Row, figures_of, read_training, round_span
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Params, load_params
from tests.factories import voc_object, write_voc

CHANGES = ("data.min_size=160", "data.max_size=null", "train.batch_size=2", "anchors.anchor_sizes=[32]")


@pytest.fixture
def square() -> Params:
    """Anchors of 32 x 32 px."""
    return load_params(Path("demo"), [*CHANGES, "anchors.anchor_ratios=[1]"])


def picture(width: int, *corners: tuple[int, int, int, int]) -> Annotation:
    count = len(corners)
    gt_boxes = np.array(corners, np.float32).reshape(-1, 4)
    return Annotation(str(width), Path("x"), width, 160, gt_boxes, np.ones(count, np.int64), np.zeros(count, bool))


def test_figures(square: Params) -> None:
    """Objects of 32 x 32 px on an anchor, of 8 x 8 in its middle, and of 16 x 64 around the same center."""
    figures = figures_of(
        [picture(160, (8, 8, 40, 40), (20, 20, 28, 28)), picture(200, (32, 8, 48, 72))], ["a", "b"], square
    )
    assert figures.total == Row("all", 3, (1 / 3, 1 / 3))
    assert [row for row in figures.by_span if row.objects] == [
        Row("8 to 16", 1, (0, 0)),
        Row("32 to 64", 2, (0.5, 0.5)),
    ]
    assert [row.name for row in figures.by_span] == ["8 to 16", "16 to 32", "32 to 64"]
    assert {row.name: row.objects for row in figures.by_shape if row.objects} == {"2:3 to 3:2": 2, "above 3:1": 1}
    assert [row.objects for row in figures.by_class] == [3, 0]
    assert (figures.images, figures.median, figures.cell, figures.below_cell) == (2, 32, 16, 1)
    assert figures.padding == pytest.approx(1 - (160 + 200) / (2 * 200))
    assert figures.warnings == []


def test_no_objects(square: Params) -> None:
    figures = figures_of([picture(160)], ["a"], square)
    assert (figures.total.objects, figures.by_span, figures.below_cell, figures.warnings) == (0, [], 0, [])


@pytest.mark.parametrize(
    ("weights", "remedy"), [("none", "anchors.anchor_sizes: [9, 18, 36]"), ("coco", "data.min_size: 427")]
)
def test_objects_far_below_the_anchors_are_a_warning(square: Params, weights: str, remedy: str) -> None:
    """A median of 12 px: half the smallest anchor is 16."""
    params = square.model_copy(update={"model": square.model.model_copy(update={"weights": weights})})
    (warning,) = figures_of([picture(160, (0, 0, 12, 12))], ["a"], params).warnings
    assert warning.startswith("the median object has 12 px, less than half the smallest anchor (32 px)")
    assert warning.endswith(f"write {remedy}")
    assert figures_of([picture(160, (0, 0, 16, 16))], ["a"], params).warnings == []


@pytest.mark.parametrize(
    ("span", "rounded"), [(0.3, 1), (7.4, 7), (8.6, 9), (17, 16), (35, 36), (130, 128), (250, 256)]
)
def test_sizes_are_rounded_to_four_binary_digits(span: float, rounded: float) -> None:
    assert round_span(span) == pytest.approx(rounded, abs=0.01)


def test_what_cannot_be_read_is_left_out(tmp_path: Path, square: Params) -> None:
    dataset = VocDataset(
        write_voc(tmp_path / "voc", {"1": voc_object(), "2": voc_object("dog"), "3": ""}, classes=None)
    )
    (dataset.root / "Annotations/3.xml").write_text("<annotation>")
    annotations, names = read_training(dataset, square)
    assert ([each.image_id for each in annotations], names) == (["1", "2"], ["cat", "dog"])
