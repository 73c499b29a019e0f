"""The resizing of `frcnn.data.resizing`, as operations that are exported with a network.

torch resizes uint8 in integers: one axis after the other, each a sum of pixels with weights of 16 bits, rounded to
uint8. Here an axis is a product with the matrix of these weights, in floats that hold the integers exactly.
"""

import torch
from torch import Tensor

from frcnn.data.resizing.sizes import LEAST_SIDE
from frcnn.params import Data

BITS = 22  # of which the largest weight leaves 16, with its sign


def resized_sides(sides: Tensor, data: Data) -> tuple[Tensor, Tensor]:
    """Return (height, width) of a picture after resizing, and the factor of both before rounding, float64.

    The operations are those of `frcnn.data.resizing.sizes.resized_size`.
    """
    factor = data.min_size / sides.amin()
    if data.max_size is not None:
        factor = torch.minimum(factor, data.max_size / sides.amax())
    scaled = sides * factor
    scaled = scaled.floor() if data.rounding == "down" else scaled.round()
    return scaled.clamp(min=LEAST_SIDE), factor


def resize_axis(images: Tensor, size: int, data: Data) -> Tensor:
    """Return images (..., L, P) float32 of whole numbers 0..255 with the last axis but one resized: (..., size, P)."""
    weights, scale = axis_weights(images.shape[-2], size, data)
    return ((weights.float() @ images) / scale.float() + 0.5).floor().clamp(0, 255)


def axis_weights(length: int, size: int, data: Data) -> tuple[Tensor, Tensor]:
    """Return the weights (size, length) float64, whole numbers, of pixels in pixels, and what a row of them sums up to.
    """
    step = torch.scalar_tensor(length, dtype=torch.float64) / size
    stretch = step.clamp(min=1) if data.antialias else torch.ones_like(step)
    support = stretch * (1 if data.interpolation == "bilinear" else 2)
    center = step * (torch.arange(size, dtype=torch.float64) + 0.5)
    first = (center - support + 0.5).trunc().clamp(min=0)[:, None]
    end = (center + support + 0.5).trunc().clamp(max=length)[:, None]
    pixel = torch.arange(length, dtype=torch.float64)
    curve = _curve(((pixel - center[:, None] + 0.5) / stretch).abs(), data)
    curve = torch.where((pixel >= first) & (pixel < end), curve, 0.0)
    weights = curve / curve.sum(1, keepdim=True)
    bits = (torch.floor(torch.log2(2**15 / weights.amax()))).clamp(max=BITS)
    return (weights.abs() * 2**bits + 0.5).floor() * weights.sign(), 2**bits


def _curve(distance: Tensor, data: Data) -> Tensor:
    """Return the weight of a pixel at a distance in pixels, of the smaller image where it is anti-aliased."""
    if data.interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    a = -0.5 if data.antialias else -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
