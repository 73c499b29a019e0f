import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.data.voc.pictures import picture_size, read_picture, stored_size
from frcnn.errors import UserError

SIZE = (40, 24)


def gradient() -> Image.Image:
    ramp = np.linspace(0, 255, SIZE[0], dtype=np.uint8)[None, :, None]
    return Image.fromarray(np.broadcast_to(ramp, (SIZE[1], SIZE[0], 3)).copy())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    gradient().convert(mode).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.shape == (24, 40, 3)
    assert picture.dtype == np.uint8
    assert picture[:, 0].max() < 60
    assert picture[:, -1].min() > 200


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", SIZE, (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red = read_picture(tmp_path / "a.jpg").mean(axis=(0, 1))
    np.testing.assert_allclose(red, [254, 0, 0], atol=6)


def test_16_bits_keep_their_range(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        np.testing.assert_array_equal(read_picture(tmp_path / name)[0, :, 0], [0, 0, 1, 128, 255])


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_pixels_are_white(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        Image.new("P", SIZE).save(tmp_path / "a.png", transparency=0)
    else:
        Image.new("RGBA", SIZE, (200, 0, 0, 0)).save(tmp_path / "a.png")
    assert (read_picture(tmp_path / "a.png") == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_applied_to_pixels_and_size_alike(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    gradient().save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    picture = read_picture(path)
    width, height = picture_size(path)
    assert picture.shape == (height, width, 3)
    assert (width, height) == (SIZE[::-1] if orientation >= 5 else SIZE)
    assert stored_size(path) == SIZE
    # the dark side of the stored picture is its left one; EXIF tells where it is when upright
    sides = {"left": picture[:, 0], "right": picture[:, -1], "top": picture[0], "bottom": picture[-1]}
    darkest = min(sides, key=lambda side: sides[side].mean())
    assert darkest == ["left", "right", "right", "left", "top", "top", "bottom", "bottom"][orientation - 1]


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such picture"), (b"", "not a format"), (b"hello", "not a format"), ("half", "truncated")],
    ids=["missing", "empty", "text", "truncated"],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_unreadable_pictures_are_named(tmp_path: Path, content: object, words: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if content == "half":
        buffer = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
        Image.fromarray(noise).save(buffer, "JPEG" if suffix == "jpg" else "PNG")
        content = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    Image.new("F", SIZE, 0.5).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="8 bits"):
        read_picture(tmp_path / "a.tif")
