"""The size of a resized picture and the scale of its boxes, by our rule and by the reference's."""

import numpy as np
import pytest

from frcnn.data.resizing.sizes import box_scale, resized_size
from frcnn.params import Params


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((500, 375), (600, 1000), (800, 600)),
        ((375, 500), (600, 1000), (600, 800)),
        ((1000, 200), (600, 1000), (1000, 200)),  # the long side binds
        ((1000, 200), (600, None), (3000, 600)),
        ((160, 213), (160, 224), (160, 213)),
        ((281, 500), (600, None), (600, 1068)),
        ((1, 5000), (600, 1000), (16, 1000)),  # a cell of the feature map at least
    ],
)
def test_resized_size(
    params: Params, size: tuple[int, int], limits: tuple[int, int | None], expected: tuple[int, int]
) -> None:
    assert resized_size(size, params.data.model_copy(update={"min_size": limits[0], "max_size": limits[1]})) == expected


@pytest.mark.parametrize("side", [281, 291, 562, 582])
def test_the_reference_loses_a_pixel_of_these_short_sides(reference: Params, side: int) -> None:
    assert resized_size((2 * side, side), reference.data)[1] == 599
    assert resized_size((2 * side, side), reference.data.model_copy(update={"rounding": "nearest"}))[1] == 600


def test_each_axis_has_its_own_scale_but_in_the_reference(reference: Params) -> None:
    size, data = (500, 333), reference.data.model_copy(update={"box_convention": "voc"})
    assert resized_size(size, data) == (900, 600)
    np.testing.assert_allclose(box_scale(size, data), [900 / 500, 600 / 333] * 2, rtol=1e-12)
    np.testing.assert_allclose(box_scale(size, reference.data), [600 / 333] * 4, rtol=1e-12)
