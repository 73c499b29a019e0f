"""The best IoU of each object is that with the anchors that take part in training."""

from pathlib import Path

import numpy as np
import pytest

from frcnn import boxes
from frcnn.advice.coverage import Objects, best_ious, resize_objects
from frcnn.anchors.grid import anchor_grid, feature_maps, valid_anchors
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Anchors, Data

ONE = Anchors(anchor_sizes=((32.0,),), anchor_ratios=(1.0,))
NETWORKS = ("vgg16", "resnet18", "mobilenet-v3-fpn", "resnet50-fpn")


def objects_in(size: tuple[int, int], corners: object) -> Objects:
    """Return objects of class 1 in one image of (width, height)."""
    gt_boxes = np.array(corners, np.float32).reshape(-1, 4)
    count = len(gt_boxes)
    return Objects(gt_boxes, np.ones(count, np.int64), np.zeros(count, np.int64), np.array([size]))


@pytest.mark.parametrize(
    ("size", "straddle", "expected", "why"),
    [
        ((64, 64), 0.0, [1, 64 / 1216], "only those with centers at 24 and 40 px lie inside"),
        ((64, 64), None, [1, 256 / 1024], "the one around (8, 8) covers the second object"),
        ((64, 64), 8.0, [1, 256 / 1024], "it crosses the border by 8 px"),
        ((16, 16), 0.0, [64 / 1984, 256 / 1024], "none lies inside, so all take part"),
    ],
)
def test_values_worked_out_by_hand(
    size: tuple[int, int], straddle: float | None, expected: list[float], why: str
) -> None:
    """Anchors of 32 x 32 px with centers at 8, 24, 40 and 56 px."""
    objects = objects_in(size, [(8, 8, 40, 40), (0, 0, 16, 16)])
    anchors = ONE.model_copy(update={"rpn_straddle_thresh": straddle})
    if size == (16, 16):  # the first object's part that an anchor at (8, 8) covers: 16 x 16 of 1024 + 1024 - 256
        expected = [256 / 1792, expected[1]]
    np.testing.assert_allclose(best_ious(objects, "resnet18", anchors), expected, atol=1e-9, err_msg=why)


def test_where_no_anchor_lies_inside_none_counts_if_asked() -> None:
    assert best_ious(objects_in((16, 16), [(0, 0, 16, 16)]), "resnet18", ONE, always=False).tolist() == [0]


def test_no_objects() -> None:
    assert best_ious(objects_in((64, 64), []), "resnet18", ONE).shape == (0,)


@pytest.mark.parametrize("seed", range(40))
def test_it_is_the_maximum_over_the_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network, size = NETWORKS[seed % 4], (int(rng.integers(16, 260)), int(rng.integers(16, 260)))
    count = len(feature_maps(size, network, ONE).grids)
    anchors = Anchors(
        anchor_sizes=tuple(tuple(rng.uniform(8, 200, 2)) for _ in range(count)),
        anchor_ratios=(0.5, float(rng.uniform(0.5, 2))),
        anchor_offset=(0.0, 0.5)[seed % 2],
        rounded=seed % 3 == 0,
        rpn_straddle_thresh=(0.0, None, 8.0)[seed % 3],
    )
    ends = rng.uniform(0, 1, (5, 2, 2)) * size
    objects = objects_in(size, np.concatenate([ends.min(1), ends.max(1)], 1))
    maps = feature_maps(size, network, anchors)
    valid = anchor_grid(maps, anchors)[valid_anchors(size, maps, anchors)].astype(np.float64)
    expected = boxes.iou(valid, objects.boxes.astype(np.float64)).max(0)
    np.testing.assert_allclose(best_ious(objects, network, anchors), expected, atol=1e-5)


def test_objects_are_resized_and_difficult_ones_left_out() -> None:
    two = np.array([(10, 20, 30, 60), (0, 0, 5, 5)], np.float32)
    hard = np.array([False, True])
    pictures = [
        Annotation("a", Path("a"), 100, 80, two[:0], np.zeros(0, np.int64), hard[:0]),
        Annotation("b", Path("b"), 100, 80, two, np.array([3, 1]), hard),
    ]
    objects = resize_objects(pictures, Data(min_size=160, max_size=None))
    assert objects.boxes.tolist() == [[20, 40, 60, 120]]
    assert objects.spans.tolist() == [np.sqrt(40 * 80)]
    assert (objects.labels.tolist(), objects.images.tolist(), objects.sizes.tolist()) == ([3], [1], [[200, 160]] * 2)
    assert len(resize_objects(pictures, Data(min_size=160, train_difficult=True)).boxes) == 2
