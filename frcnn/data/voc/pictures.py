"""Decode pictures: every mode becomes 8-bit RGB, every EXIF rotation is applied.

Boxes belong to the upright picture, as people see it when they draw them; all sizes here are of that picture.
"""

import ctypes
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError, _imaging

from frcnn.errors import UserError

# For some others Pillow starts programs, or recognizes them by so little that much else would be taken for them.
AVIF = ["AVIF"] if find_spec("PIL._avif") else []  # since Pillow 11.3
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "DIB", *AVIF)
MAX_PIXELS = 178_956_970  # unless FRCNN_MAX_PIXELS says otherwise; Pillow's own limit
ORIENTATION = 0x0112  # EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # its values that exchange width and height
WIDTH, HEIGHT = 256, 257  # TIFF tags
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # 64 MiB: a profile or text may need more than 1

# Commands print one line for a bad picture, without remarks of a library. Filters are for the whole process because
# `warnings.catch_warnings` is not safe where threads read pictures.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
_tiff = threading.local()
# libtiff would print its errors to stderr, and Pillow often overlooks them.
_handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(
    lambda *_: setattr(_tiff, "damaged", True)
)
with suppress(OSError, AttributeError):  # a Pillow without libtiff
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(_handler)


def read_picture(path: Path, max_pixels: int | None = None) -> np.ndarray:
    """Decode a picture, upright, as (H, W, 3) uint8 RGB.

    Gray, CMYK, palette and 1-bit pictures are converted; of 16 bits the upper 8 are kept; transparency is laid over
    white, as most viewers show it; of several frames the first is taken.

    Args:
        path: a file in one of `FORMATS`, whatever its name ends with.
        max_pixels: limit of width x height, checked before the pixels are decoded; None: $FRCNN_MAX_PIXELS.

    Raises:
        UserError: no such file, not a picture, too large, truncated, or pixels of floating point.
    """
    return np.asarray(decode(path, max_pixels)[0])


def picture_to_array(image: Image.Image) -> np.ndarray:
    """Return a picture of Pillow as `read_picture` does that of a file.

    Raises:
        UserError: it cannot be decoded, or has pixels of floating point.
    """
    try:
        image.load()
        rgb, orientation = _to_rgb(image), _orientation(image)
    except (OSError, ValueError) as error:
        raise UserError(f"unreadable picture: {error}") from error
    return np.asarray(rgb if orientation == 1 else _upright(rgb.copy(), orientation))


def decode(path: Path, max_pixels: int | None = None) -> tuple[Image.Image, tuple[int, int] | None]:
    """Return what `read_picture` makes an array of, and of 16-bit gray the lowest and highest value in the file."""
    with _opened(path, max_pixels) as image:
        orientation = _orientation(image)  # before the pixels are loaded, as in picture_size
        image.load()
        if _tiff.damaged:
            raise ValueError("damaged TIFF")
        if _orientation(image) == 1:  # of TIFF, most versions of Pillow turn the picture as they load it
            orientation = 1
        values = np.asarray(image) if image.mode.startswith("I") else None
        levels = None if values is None else (int(values.min()), int(values.max()))
        rgb = _to_rgb(image)
    return rgb if orientation == 1 else _upright(rgb, orientation), levels


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright picture in pixels, from the file's header alone.

    Raises:
        UserError: no such file, not a picture, or too large.
    """
    (width, height), orientation = _header(path)
    return (height, width) if orientation in SIDEWAYS else (width, height)


def stored_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels as stored, before EXIF rotation; errors as `picture_size`."""
    return _header(path)[0]


def _header(path: Path) -> tuple[tuple[int, int], int]:
    with _opened(path) as image:
        tags = getattr(image, "tag_v2", None)  # of TIFF, some versions of Pillow give the upright size as that of image
        return (tags[WIDTH], tags[HEIGHT]) if tags else image.size, _orientation(image)


@contextmanager
def _opened(path: Path, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong in the block is an error of the file."""
    Image.MAX_IMAGE_PIXELS = (_max_pixels() if max_pixels is None else max_pixels) // 2  # it refuses twice as many
    _tiff.damaged = False
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise _unreadable(path, error) from error


def _max_pixels() -> int:
    text = os.environ.get("FRCNN_MAX_PIXELS") or str(MAX_PIXELS)
    if not re.fullmatch("[0-9]{1,18}", text):
        raise UserError(f"FRCNN_MAX_PIXELS: {text!r} is no number of pixels")
    return int(text)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8."""
    # The method of the base class: PNG's own would decode the whole picture in search of a late EXIF chunk.
    value: Any = Image.Image.getexif(image).get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _upright(rgb: Image.Image, orientation: int) -> Image.Image:
    """Rotate a picture by the orientation that its header states; one that comes after the pixels does not count."""
    rgb.info.clear()
    rgb.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(rgb)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 bits a channel")
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow would clip at 255
        gray = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such picture")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: unreadable picture: not a format that is known; use {', '.join(FORMATS)}")
    if isinstance(error, Image.DecompressionBombError):
        pixels = int(re.findall("[0-9]+", str(error))[0])
        limit = f"the limit of {2 * (Image.MAX_IMAGE_PIXELS or 0):,} (FRCNN_MAX_PIXELS)"
        what = f"{pixels:,} pixels, more than {limit}: tile or shrink it, or raise the limit"
        return UserError(f"{path}: unreadable picture: {what}")
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return UserError(f"{path}: unreadable picture: {reason}; replace or remove it")
