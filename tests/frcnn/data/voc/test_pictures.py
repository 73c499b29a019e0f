import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin

from frcnn.data.voc.pictures import FORMATS, picture_size, read_picture, stored_size
from frcnn.errors import UserError
from tests.factories import ROOT

SIZE = (40, 24)
pytestmark = pytest.mark.filterwarnings(r"ignore::Warning:PIL\.")  # as the module does; pytest undoes it


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


UPRIGHT: list[Callable[[np.ndarray], np.ndarray]] = [  # by EXIF's orientations, 1 to 8
    lambda a: a, lambda a: a[:, ::-1], lambda a: a[::-1, ::-1], lambda a: a[::-1],
    lambda a: a.swapaxes(0, 1), lambda a: np.rot90(a, -1), lambda a: a[::-1, ::-1].swapaxes(0, 1), np.rot90,
]  # fmt: skip
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="%d"/></x:xmpmeta>'
# Name, format and how it is saved.
TURNED: list[tuple[str, str, dict]] = [
    ("JPEG", "JPEG", {"quality": 95}), ("PNG", "PNG", {}), ("WebP", "WEBP", {"lossless": True}),
    ("TIFF", "TIFF", {}), ("compressed TIFF", "TIFF", {"compression": "tiff_lzw"}),
    ("TIFF of two pages", "TIFF", {"save_all": True, "append_images": [gradient()]}),
    ("MPO", "MPO", {"save_all": True, "append_images": [gradient()], "quality": 95}),
    ("AVIF", "AVIF", {"quality": 100}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), [each[1:] for each in TURNED], ids=[each[0] for each in TURNED])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_is_applied_once_to_pixels_and_size_alike(
    tmp_path: Path, name: str, options: dict, orientation: int
) -> None:
    if name == "AVIF" and name not in FORMATS:
        pytest.skip("this Pillow does not read it")
    stored = np.kron(np.arange(1, 7).reshape(2, 3, 1) * 40, np.ones((16, 16, 3))).astype(np.uint8)  # no symmetry
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a", name, exif=exif, **options)
    expected = UPRIGHT[orientation - 1](stored)
    assert picture_size(tmp_path / "a") == expected.shape[1::-1]
    assert stored_size(tmp_path / "a") == (48, 32)
    picture = read_picture(tmp_path / "a")
    assert picture.shape == expected.shape
    np.testing.assert_allclose(picture, expected, atol=12)


@pytest.mark.parametrize("name", ["JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_orientation_in_xmp_counts_for_both_or_neither(tmp_path: Path, name: str, orientation: int) -> None:
    """Pillow's versions differ in which of them count."""
    xmp = (XMP % orientation).encode()
    options = {"tiffinfo": {700: xmp}} if name == "TIFF" else {"xmp": xmp}
    gradient().save(tmp_path / "a", name, **options)
    assert stored_size(tmp_path / "a") == SIZE
    assert read_picture(tmp_path / "a").shape[1::-1] == picture_size(tmp_path / "a")


def text_chunk(kind: str, length: int) -> bytes:
    """Return a PNG with a compressed text or color profile of so many bytes."""
    if kind == "iCCP":
        options: dict = {"icc_profile": bytes(length)}
    else:
        information = PngImagePlugin.PngInfo()
        information.add_text("history", "a" * length, zip=True)
        options = {"pnginfo": information}
    buffer = io.BytesIO()
    gradient().save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["iCCP", "zTXt"])
def test_long_texts_and_profiles_are_read_up_to_a_limit(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.png").write_bytes(text_chunk(kind, 5 << 20))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), np.asarray(gradient()))
    (tmp_path / "a.png").write_bytes(text_chunk(kind, 65 << 20))
    with pytest.raises(UserError, match="(?i)unreadable picture: .*too large"):
        read_picture(tmp_path / "a.png")


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


@pytest.mark.parametrize("name", [*FORMATS, "MPO"])
def test_what_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    frames = {"save_all": True, "append_images": [gradient()]} if name == "MPO" else {}  # of phones, called .jpg
    gradient().save(tmp_path / "a.eps", name, **frames)
    assert picture_size(tmp_path / "a.eps") == SIZE
    np.testing.assert_allclose(read_picture(tmp_path / "a.eps"), np.asarray(gradient()), atol=12)


@pytest.mark.parametrize("name", ["EPS", "ICO", "TGA", "PCX", "SGI", "PDF", "IM"])
@pytest.mark.parametrize("function", [read_picture, picture_size])
def test_no_other_format_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, function: Callable
) -> None:
    gradient().save(tmp_path / "a.jpg", name)
    started: list = []
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **_: started.append(arguments))
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *arguments, **_: started.append(arguments))
    with pytest.raises(UserError, match="not a format that is known"):
        function(tmp_path / "a.jpg")
    assert started == []


def huge_png() -> bytes:
    """Return a small file whose header says 60000 x 60000 pixels."""
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, "PNG")
    header = struct.pack(">II", 60000, 60000) + buffer.getvalue()[24:29]
    checked = b"IHDR" + header
    return buffer.getvalue()[:12] + checked + struct.pack(">I", zlib.crc32(checked)) + buffer.getvalue()[33:]


@pytest.mark.parametrize("function", [read_picture, picture_size, stored_size])
def test_too_many_pixels(tmp_path: Path, function: Callable) -> None:
    (tmp_path / "a.png").write_bytes(huge_png())
    words = (
        r"a.png: unreadable picture: 3,600,000,000 pixels, more than the limit of 178,956,970 \(FRCNN_MAX_PIXELS\): "
        "tile or shrink it, or raise the limit$"
    )
    with pytest.raises(UserError, match=words):
        function(tmp_path / "a.png")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("variable", [True, False])
def test_the_limit_of_pixels_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, variable: bool
) -> None:
    gradient().save(tmp_path / "a", name)

    def read(limit: int) -> tuple[int, ...]:
        if variable:
            monkeypatch.setenv("FRCNN_MAX_PIXELS", str(limit))
        return read_picture(tmp_path / "a", None if variable else limit).shape

    assert read(960) == read(1000) == (24, 40, 3)
    with pytest.raises(UserError, match="960 pixels, more than the limit of 958"):
        read(958)


@pytest.mark.parametrize("text", ["many", "-5", "1e6", "9" * 19, "\u0663"])
def test_a_limit_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FRCNN_MAX_PIXELS", text)
    with pytest.raises(UserError, match="FRCNN_MAX_PIXELS: .* is no number of pixels"):
        read_picture(tmp_path / "a.png")


def test_a_frame_larger_than_the_screen_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GIF may say 1 x 1, and a frame of it 65535 x 65535."""
    Image.new("P", (1, 1)).save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    at = data.index(b",")
    data[at + 5 : at + 9] = b"\xff" * 4
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(UserError, match="4,294,836,225 pixels"):
        read_picture(tmp_path / "a.gif")


def damaged() -> bytes:
    """Return a TIFF whose pixels libtiff complains about; Pillow returns them as if nothing had happened."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 2, (80, 96), np.uint8) * 255
    Image.fromarray(noise).convert("1").save(buffer, "TIFF", compression="group4")
    return buffer.getvalue()[:1000] + bytes(10) + buffer.getvalue()[1010:]


def samples() -> bytes:
    """Return a TIFF of 21504 samples per pixel, which Pillow logs."""
    buffer = io.BytesIO()
    gradient().save(buffer, "TIFF", compression="tiff_adobe_deflate")
    entry = struct.pack("<HHIH", 277, 3, 1, 3)
    return buffer.getvalue().replace(entry, struct.pack("<HHIH", 277, 3, 1, 21504))


def plain() -> bytes:
    """Return a good picture, of which Pillow warns where it has more than half of the pixels that are allowed."""
    buffer = io.BytesIO()
    gradient().save(buffer, "PNG")
    return buffer.getvalue()


def tag_beyond_the_end() -> bytes:
    """Return a TIFF with a tag whose value would be after the end, of which Pillow warns."""
    buffer = io.BytesIO()
    gradient().save(buffer, "TIFF", dpi=(7, 7))
    before, entry, after = buffer.getvalue().partition(struct.pack("<HHI", 282, 5, 1))
    return before + entry + b"\xff\xff\xff\x00" + after[4:]


@pytest.mark.parametrize("content", [damaged(), samples(), plain(), tag_beyond_the_end()],
                         ids=["libtiff", "log", "warning of size", "warning of a tag"])  # fmt: skip
def test_libraries_keep_quiet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    code = (
        "import pathlib, sys\nfrom frcnn.data.voc import pictures\nfrom frcnn.errors import UserError\n"
        "try: pictures.picture_size(pathlib.Path(sys.argv[1])), pictures.read_picture(pathlib.Path(sys.argv[1]))\n"
        "except UserError: pass\n"
    )
    environment = os.environ | {"FRCNN_MAX_PIXELS": "10000"}
    command = [sys.executable, "-c", code, tmp_path / "a"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    assert ended.stderr == ended.stdout == b""


def test_pixels_that_libtiff_could_not_decode_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(damaged())
    with pytest.raises(UserError, match="damaged TIFF"):
        read_picture(tmp_path / "a.tif")
    gradient().convert("1").save(tmp_path / "a.tif", compression="group4")
    assert read_picture(tmp_path / "a.tif").shape == (24, 40, 3)
