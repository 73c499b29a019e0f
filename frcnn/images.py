"""What a detector takes as an image in Python: a path, a URL, a PIL image, a NumPy array or a tensor of torch."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from frcnn.data.voc.pictures import picture_to_array
from frcnn.errors import UserError
from frcnn.picture_sources import is_url, read_input

if TYPE_CHECKING:
    from torch import Tensor

    AnyImage = str | Path | Image.Image | np.ndarray | Tensor


def to_array(image: "AnyImage") -> np.ndarray:
    """Return an image as (H, W, 3) uint8 RGB.

    Args:
        image: a path or URL, read upright; a PIL image of any mode, turned upright, too; an array (H, W, 3) or a tensor
            of torch (3, H, W), RGB, uint8 or floating point from 0 to 1.

    Raises:
        UserError: the file or URL cannot be read.
        TypeError: none of these, or an array of another dtype.
        ValueError: another shape, or floating-point numbers outside 0..1.
    """
    if isinstance(image, str | Path):
        if not is_url(str(image)) and Path(image).is_dir():
            raise UserError(f"{image}: a folder; pass a list of its pictures, such as list(Path(folder).glob('*.jpg'))")
        return read_input(str(image))
    if isinstance(image, Image.Image):
        return picture_to_array(image)
    if isinstance(image, np.ndarray):
        return _check(image, "an array", "(H, W, 3)", 2)
    torch: Any = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is not None and isinstance(image, torch.Tensor):
        pixels = image.detach().cpu()
        pixels = pixels.float() if pixels.is_floating_point() else pixels  # NumPy has no bfloat16
        return _check(pixels.numpy(), "a tensor", "(3, H, W)", 0)
    kinds = "a path, a URL, a PIL image, a NumPy array or a tensor of torch"
    raise TypeError(f"an image is {kinds}, not {type(image).__name__}; pass several as a list")


def _check(array: np.ndarray, what: str, expected: str, channels: int) -> np.ndarray:
    """Return the image in an array whose axis `channels` has to be RGB."""
    if array.ndim != 3 or array.shape[channels] != 3 or not array.size:
        raise ValueError(f"{what} of shape {array.shape} is no image {expected} in RGB; {_remedy(array, channels)}")
    pixels = array if channels == 2 else array.transpose(1, 2, 0)
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise TypeError(f"{what} of {pixels.dtype} is no image; convert it to uint8 from 0 to 255")
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        remedy = "pass 0 to 1, or uint8 from 0 to 255, and do not normalize: the detector does"
        raise ValueError(f"{what} of floating-point numbers from {low:g} to {high:g} is no image; {remedy}")
    return np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)


def _remedy(array: np.ndarray, channels: int) -> str:
    if not array.size:
        return "it is empty"
    if array.ndim == 4:
        return "pass several images as a list: list(images)"
    if array.ndim == 3 and array.shape[2 - channels] == 3:
        return "move the channels: " + ("image.permute(2, 0, 1)" if channels == 0 else "image.transpose(1, 2, 0)")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[channels] == 1):
        return "repeat gray three times: " + ("image.expand(3, -1, -1)" if channels == 0 else "np.dstack([image] * 3)")
    if array.ndim == 3 and array.shape[channels] == 4:
        return "drop the transparency: " + ("image[:3]" if channels == 0 else "image[..., :3]")
    return "pass one with three channels"
