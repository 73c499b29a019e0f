"""Anchors and their validity: the published numbers."""

from pathlib import Path

import numpy as np
import pytest

from frcnn.anchors.grid import anchor_grid, anchor_shapes, valid_anchors
from frcnn.params import Anchors, Params
from tests.factories import grid_of, one_map

PAPER = Anchors()
SIZES = ["600x800", "800x600", "600x1000", "600x901", "1067x600", "600x600"]


def test_shapes_of_the_paper() -> None:
    shapes = anchor_shapes(PAPER)
    np.testing.assert_allclose(
        shapes[:3], [[181.01933598, 90.50966799], [128, 128], [90.50966799, 181.01933598]], atol=1e-8
    )
    np.testing.assert_allclose(shapes[8], [362.03867197, 724.07734394], atol=1e-8)


@pytest.mark.parametrize(
    ("backbone", "size", "grid"),
    [("vgg16", (800, 600), (37, 50)), ("resnet50", (800, 600), (38, 50)), ("vgg16-torch", (15, 16), (1, 0))],
)
def test_feature_grid(backbone: str, size: tuple[int, int], grid: tuple[int, int]) -> None:
    assert grid_of(size, backbone) == grid


@pytest.mark.parametrize(
    ("width", "height", "total", "valid"), [(800, 600, 16650, 5834), (1000, 600, 20646, 8044), (600, 600, 12321, 3864)]
)
def test_counts(width: int, height: int, total: int, valid: int) -> None:
    grid = grid_of((width, height), "vgg16")
    assert len(anchor_grid(one_map(*grid), PAPER)) == total
    indices = valid_anchors((width, height), one_map(*grid), PAPER)
    assert len(indices) == valid
    if (width, height) == (800, 600):
        assert np.bincount(indices % 9, minlength=9).tolist() == [1216, 1260, 1144, 728, 748, 570, 60, 108, 0]


def test_an_image_smaller_than_every_anchor_uses_all() -> None:
    assert len(valid_anchors((64, 64), one_map(4, 4), PAPER)) == 4 * 4 * 9


def test_border_may_be_crossed_by_so_much() -> None:
    inside, near, anywhere = (
        valid_anchors((600, 600), one_map(37, 37), PAPER.model_copy(update={"rpn_straddle_thresh": straddle}))
        for straddle in (0.0, 64.0, None)
    )
    assert len(inside) < len(near) < len(anywhere) == 37 * 37 * 9


@pytest.mark.golden
@pytest.mark.parametrize("size", SIZES)
def test_golden_anchors_and_validity(golden: Path, reference: Params, size: str) -> None:
    file = np.load(golden / "anchors_and_rpn_targets.npz")
    height, width = map(int, size.split("x"))
    rows, columns = grid_of((width, height), "vgg16")
    grid = anchor_grid(one_map(rows, columns), reference.anchors).reshape(rows, columns, 9, 4)
    expected = file[f"{size}/anchors_cyxhw"]
    y, x, h, w = np.moveaxis(expected, -1, 0)
    half = np.float32(0.5)
    corners = np.stack([x - half * w, y - half * h, x + half * w, y + half * h], -1)
    np.testing.assert_array_equal(grid[::7, ::7], corners)
    np.testing.assert_allclose(
        np.stack(
            [
                grid[..., [1, 3]].mean(-1),
                grid[..., [0, 2]].mean(-1),
                np.diff(grid[..., [1, 3]])[..., 0],
                np.diff(grid[..., [0, 2]])[..., 0],
            ],
            -1,
        ).sum(dtype=np.float64),
        file[f"{size}/anchors_cyxhw_sum"],
        rtol=1e-6,
    )
    valid = np.zeros(rows * columns * 9, bool)
    valid[valid_anchors((width, height), one_map(rows, columns), reference.anchors)] = True
    np.testing.assert_array_equal(np.packbits(valid), file[f"{size}/valid"])
