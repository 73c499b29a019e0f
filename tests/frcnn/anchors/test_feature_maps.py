"""Several feature maps: their grids, anchors of all, indices that move to a padded batch, labels."""

import numpy as np
import pytest

from frcnn import boxes
from frcnn.anchors.grid import anchor_grid, feature_maps, move_to_batch, proposing_anchors, valid_anchors
from frcnn.anchors.label import label_image
from frcnn.params import Anchors

SIZES = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
PYRAMID = Anchors(anchor_sizes=SIZES, rpn_straddle_thresh=None)
FPN = "resnet50-fpn"


def test_grids_and_strides() -> None:
    maps = feature_maps((301, 200), FPN, PYRAMID)
    assert maps.grids == ((50, 76), (25, 38), (13, 19), (7, 10), (4, 5))
    assert maps.strides == ((4, 4), (8, 8), (16, 16), (32, 32), (64, 64))
    from_map = feature_maps((320, 224), FPN, PYRAMID.model_copy(update={"strides": "from_map"}))
    assert from_map.strides == ((4, 4), (8, 8), (16, 16), (32, 32), (64, 56))
    assert feature_maps((320, 224), "mobilenet-v3-fpn", PYRAMID).grids == ((7, 10), (7, 10), (4, 5))


def test_anchors_are_ordered_by_map_row_column_and_ratio() -> None:
    maps = feature_maps((64, 32), FPN, PYRAMID)
    found = anchor_grid(maps, PYRAMID)
    assert maps.starts(3).tolist() == [0, 3 * 128, 3 * 160, 3 * 168, 3 * 170]
    assert len(found) == 3 * 171
    sides = np.sqrt(boxes.area(found))
    np.testing.assert_allclose(sides[: 3 * 128], 32, rtol=1e-5)
    np.testing.assert_allclose(sides[3 * 170 :], 512, rtol=1e-5)
    centers = (found[:, :2] + found[:, 2:]) / 2
    np.testing.assert_allclose(centers[3 * 17], [6, 6])  # second row, second column of the finest
    np.testing.assert_allclose(centers[3 * 128 + 3], [12, 4])  # first row, second column of the next


def test_rounded_anchors_are_torchvisions() -> None:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    rounded = Anchors(anchor_sizes=((32.0, 64.0),), anchor_offset=0, rounded=True)
    wanted = AnchorGenerator(((32, 64),), ((0.5, 1.0, 2.0),)).cell_anchors[0].reshape(3, 2, 4).swapaxes(0, 1)
    found = anchor_grid(feature_maps((16, 16), "resnet50", rounded), rounded)
    np.testing.assert_array_equal(found, wanted.reshape(-1, 4))
    assert not np.array_equal(found, anchor_grid(feature_maps((16, 16), "resnet50", rounded), Anchors(
        anchor_sizes=((32.0, 64.0),), anchor_offset=0)))  # fmt: skip


@pytest.mark.parametrize("own", [(64, 64), (200, 301), (5, 130), (320, 320)])
def test_an_anchor_stays_itself_in_the_padded_batch(own: tuple[int, int]) -> None:
    alone, batch = (feature_maps(size, FPN, PYRAMID) for size in (own, (320, 320)))
    index = np.arange(len(anchor_grid(alone, PYRAMID)))
    moved = move_to_batch(index, alone, batch, PYRAMID.per_cell)
    assert len(set(moved)) == len(index)
    np.testing.assert_array_equal(anchor_grid(batch, PYRAMID)[moved], anchor_grid(alone, PYRAMID))
    allowed = proposing_anchors(batch, [alone.grids], [own], PYRAMID, exclude_edge=False)
    assert np.flatnonzero(allowed[0]).tolist() == sorted(moved)


def test_objects_are_labeled_on_the_map_of_their_size() -> None:
    objects = np.array([[40, 40, 72, 72], [100, 60, 228, 188], [10, 10, 266, 266]], np.float32)
    size = (320, 320)
    labels = label_image(objects, size, FPN, PYRAMID)
    maps = feature_maps(size, FPN, PYRAMID)
    level = np.searchsorted(maps.starts(3), labels.positive_index, side="right") - 1
    assert set(level) == {0, 2, 3}
    chosen = anchor_grid(maps, PYRAMID)[labels.positive_index]
    decoded = boxes.decode(labels.positive_delta, chosen)
    distance = np.abs(decoded[:, None] - objects).max(-1)
    assert distance.min(1).max() < 1e-3
    assert set(distance.argmin(1)) == {0, 1, 2}
    negative = np.flatnonzero(np.unpackbits(labels.negative_bits))
    assert not set(negative) & set(labels.positive_index)


def test_anchors_inside_the_image_of_all_maps() -> None:
    inside = PYRAMID.model_copy(update={"rpn_straddle_thresh": 0.0})
    maps = feature_maps((150, 150), FPN, inside)
    found = anchor_grid(maps, inside)[valid_anchors((150, 150), maps, inside)]
    assert found.min() >= 0
    assert found.max() <= 150
    assert set(np.sqrt(boxes.area(found)).round()) == {32, 64, 128}
