"""Which anchors of a padded batch may become proposals."""

import numpy as np

from frcnn.anchors.grid import proposing_anchors
from frcnn.params import Anchors
from tests.factories import one_map


def test_anchors_across_the_border_may_be_left_out() -> None:
    """Of the padded map of 4 x 6 cells, an image of 48 x 48 px has 3 x 3 and another the whole."""
    anchors = Anchors(anchor_sizes=(32.0,), anchor_ratios=(1.0,))
    images = (one_map(4, 6), [((3, 3),), ((4, 6),)], [(48, 48), (96, 64)])
    inside, solid = (proposing_anchors(*images, anchors, exclude).reshape(2, 4, 6) for exclude in (False, True))
    assert inside.sum((1, 2)).tolist() == [9, 24]
    assert inside[0, :3, :3].all()
    assert np.argwhere(solid[0]).tolist() == [[1, 1]]  # 32 px in the middle cell reach from 8 to 40
    assert solid[1].sum() == 2 * 4
    assert not solid[1, 0].any()
