"""Resizing: Pillow's filter, anti-aliased."""

import numpy as np
import pytest
from PIL import Image

from frcnn.data.resizing.resample import mirror, resize


@pytest.mark.parametrize("size", [(80, 60), (61, 90), (20, 15), (31, 17)])
def test_resize_is_pillows(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)).astype(int)
    found = resize(image, *size)
    assert found.shape == expected.shape
    assert found.flags.c_contiguous
    assert abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.05


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_is_anti_aliased(interpolation: str) -> None:
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(np.repeat(checks[..., None], 3, axis=2), 16, 8, interpolation)
    assert small.shape == (8, 16, 3)
    assert abs(small.astype(int) - 127).max() < 40


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(80, 60), (61, 90), (20, 15), (31, 17)])
def test_resized_and_mirrored_is_mirrored_and_resized(size: tuple[int, int], interpolation: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    image.setflags(write=False)  # as pictures are read
    expected = resize(np.ascontiguousarray(image[:, ::-1]), *size, interpolation)
    np.testing.assert_array_equal(mirror(resize(image, *size, interpolation)), expected)
    np.testing.assert_array_equal(mirror(image), image[:, ::-1])
