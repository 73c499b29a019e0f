"""Pictures kept in memory are the pictures, whichever process has put them."""

from multiprocessing import get_context

import numpy as np
import pytest

from frcnn.errors import UserError
from frcnn.training.picture_cache import PictureCache
from tests.factories import LINUX

SIZES = np.array([(3, 2), (5, 7)])
IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(7, 5, 3)


def test_what_was_put_is_got_and_nothing_else() -> None:
    cache = PictureCache(SIZES)
    cache.put(1, IMAGE)
    assert cache.get(0) is None
    np.testing.assert_array_equal(cache.get(1), IMAGE)


@LINUX
def test_forked_processes_share_it() -> None:
    cache = PictureCache(SIZES)
    child = get_context("fork").Process(target=cache.put, args=(1, IMAGE))
    child.start()
    child.join()
    np.testing.assert_array_equal(cache.get(1), IMAGE)


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(UserError, match=r"--cache: no .* GiB of memory: .*; train without"):
        PictureCache(np.full((10**6, 2), 10**6))
