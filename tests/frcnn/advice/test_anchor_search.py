"""Sizes and ratios of anchors that cover objects."""

import numpy as np
import pytest

from frcnn.advice.anchor_search import fit_anchors
from frcnn.advice.coverage import Objects, best_ious
from frcnn.params import Anchors

CENTERS = 8 + 16 * np.arange(3, 7)  # of cells of 16 px, far enough from the border


def on_cells(width: float, height: float) -> Objects:
    """Return an object of this size around each of some cells' centers, in an image of 160 x 160 px."""
    x, y = (axis.ravel() for axis in np.meshgrid(CENTERS, CENTERS))
    corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1).astype(np.float32)
    return Objects(corners, np.ones(len(x), np.int64), np.zeros(len(x), np.int64), np.array([(160, 160)]))


@pytest.mark.parametrize(
    ("sides", "size", "ratio"), [((48, 48), 48, 1), ((40, 80), 56, 2), ((80, 40), 56, 0.5), ((20, 20), 20, 1)]
)
def test_objects_of_one_shape_need_one_anchor(sides: tuple[int, int], size: float, ratio: float) -> None:
    """The size is the root of the area, rounded: 56.6 to 56."""
    objects = on_cells(*sides)
    fitted = fit_anchors(objects, "resnet18", Anchors())
    assert (fitted.anchor_sizes, fitted.anchor_ratios) == (((size,),), (ratio,))
    assert (best_ious(objects, "resnet18", fitted) > 0.95).all()


def test_two_sizes_and_two_ratios_are_found() -> None:
    parts = [on_cells(*sides) for sides in ((16, 32), (32, 16), (40, 80), (80, 40))]
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("boxes", "labels", "images")]
    objects = Objects(*joined, parts[0].sizes)
    fitted = fit_anchors(objects, "resnet18", Anchors())
    assert (fitted.anchor_sizes, fitted.anchor_ratios) == (((22.0, 56.0),), (0.5, 2.0))


def test_the_lists_of_a_pyramid_are_scaled_together() -> None:
    """The objects lie around the centers of cells of 4 and 8 px, not of those of coarser maps."""
    sizes = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    lists = Anchors(anchor_sizes=sizes, anchor_ratios=(1.0,), anchor_offset=0)
    fitted = fit_anchors(on_cells(16, 16), "resnet50-fpn", lists)
    assert fitted.anchor_sizes == ((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))
    assert fitted.anchor_ratios == (1.0,)
