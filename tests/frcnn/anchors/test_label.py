"""Anchor labels: the published fixtures, ties included, and what must hold for every image."""

from pathlib import Path

import numpy as np
import pytest

from frcnn.anchors.label import Labels, label_image
from frcnn.params import Anchors, Params

PAPER = Anchors()
SIZES = ["600x800", "800x600", "600x1000", "600x901", "1067x600", "600x600"]
CASES = [f"{size}/{case}" for size in SIZES for case in ("few", "many", "small", "one")] + ["ties"]


def label(yxyx: list[tuple[float, ...]], width: int = 800, height: int = 600, params: Anchors = PAPER) -> Labels:
    """Label an image with objects given as (y1, x1, y2, x2), the order of the published fixtures."""
    boxes = np.array(yxyx, np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
    return label_image(boxes, (width, height), "vgg16", params)


def negatives(labels: Labels) -> int:
    return int(np.unpackbits(labels.negative_bits).sum())


def test_an_image_without_objects_is_all_background() -> None:
    labels = label([])
    assert len(labels.positive_index) == 0
    assert labels.positive_delta.shape == (0, 4)
    assert negatives(labels) == 5834


@pytest.mark.parametrize(
    ("boxes", "positive", "negative"),
    [
        ([(100, 150, 300, 450)], 14, 5407),
        ([(100, 150, 300, 450), (250, 500, 560, 700)], 24, 5075),
        ([(300, 400, 320, 420)], 15, None),
        ([(300.8, 401.6, 320, 432)], 15, None),
        ([(100, 100, 130, 140)], 30, None),
    ],
)
def test_published_counts(boxes: list[tuple[float, ...]], positive: int, negative: int | None) -> None:
    labels = label(boxes)
    assert len(labels.positive_index) == positive
    assert negative is None or negatives(labels) == negative


def test_first_positive_and_its_target() -> None:
    labels = label([(100, 150, 300, 450), (250, 500, 560, 700)])
    row, column, k = 11, 17, 3
    assert labels.positive_index[0] == (row * 50 + column) * 9 + k
    np.testing.assert_allclose(labels.positive_delta[0], [0.0552427, 0.0883884, -0.1879686, 0.0997135], atol=1e-6)


def test_a_box_that_touches_no_valid_anchor_makes_none_positive() -> None:
    # Published implementations make all 5,834 valid anchors positive here: every one has the best IoU, 0.
    assert len(label([(0, 0, 8, 8)]).positive_index) == 0


def test_tolerance_admits_true_ties() -> None:
    tolerant = Anchors(rpn_tie_tolerance=1e-5)
    assert len(label([(300, 400, 320, 420)], params=tolerant).positive_index) == 149


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_golden_labels(golden: Path, reference: Params, case: str) -> None:
    file = np.load(golden / "anchors_and_rpn_targets.npz")
    height, width = map(int, ["600", "800"] if case == "ties" else case.split("/")[0].split("x"))
    labels = label(file[f"{case}/gt_y1x1y2x2"], width, height, reference.anchors)
    row, column, k = file[f"{case}/positive_yxk"].astype(np.int64).T
    np.testing.assert_array_equal(labels.positive_index, (row * (width // 16) + column) * 9 + k)
    np.testing.assert_allclose(
        labels.positive_delta, file[f"{case}/positive_deltas_tytxthtw"][:, [1, 0, 3, 2]], atol=1e-5
    )
    assert negatives(labels) == file[f"{case}/negative_count"]
    if case != "ties":
        np.testing.assert_array_equal(labels.negative_bits, file[f"{case}/label_packed_neg"])
