"""Decode pictures: every mode becomes 8-bit RGB, every EXIF rotation is applied.

Boxes belong to the upright picture, as people see it when they draw them; all sizes here are of that picture.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from frcnn.errors import UserError

ORIENTATION = 0x0112  # EXIF tag
SIDEWAYS = (5, 6, 7, 8)  # its values that exchange width and height


def read_picture(path: Path) -> np.ndarray:
    """Decode a picture, upright, as (H, W, 3) uint8 RGB.

    Gray, CMYK, palette and 1-bit pictures are converted; of 16 bits the upper 8 are kept; transparency is laid over
    white, as most viewers show it; of several frames the first is taken.

    Raises:
        UserError: no such file, not a picture, truncated, or pixels of floating point.
    """
    try:
        with Image.open(path) as image:
            orientation = _orientation(image)  # before the pixels are loaded, as in picture_size
            image.load()
            rgb = _to_rgb(image)
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise _unreadable(path, error) from error
    return np.asarray(rgb if orientation == 1 else _upright(rgb, orientation))


def picture_size(path: Path) -> tuple[int, int]:
    """Return (width, height) of the upright picture in pixels, from the file's header alone.

    Raises:
        UserError: no such file or not a picture.
    """
    (width, height), orientation = _header(path)
    return (height, width) if orientation in SIDEWAYS else (width, height)


def stored_size(path: Path) -> tuple[int, int]:
    """Return (width, height) in pixels as stored, before EXIF rotation; errors as `picture_size`."""
    return _header(path)[0]


def _header(path: Path) -> tuple[tuple[int, int], int]:
    try:
        with Image.open(path) as image:
            return image.size, _orientation(image)
    except Exception as error:
        raise _unreadable(path, error) from error


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
    return image.convert("RGB")


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path}: no such picture")
    if isinstance(error, UnidentifiedImageError):
        return UserError(f"{path}: unreadable picture: not a format that is known; replace or remove it")
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return UserError(f"{path}: unreadable picture: {reason}; replace or remove it")
