"""The resizing of `frcnn.data.resizing`, as operations that are exported with a network.

torch resizes uint8 in integers: one axis after the other, each a sum of pixels with weights of 16 bits, rounded to
uint8. Here an axis is a product with the matrix of these weights, in floats that hold the integers exactly.
"""

import torch
from torch import Tensor, nn

from frcnn.data.resizing.sizes import LEAST_SIDE
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.errors import UserError
from frcnn.params import Data

BITS = 22  # at most, after the point of a weight


def resized_sides(sides: Tensor, data: Data) -> tuple[Tensor, Tensor]:
    """Return (height, width) of a picture after resizing, and the factor of both before rounding, float64.

    The operations are those of `frcnn.data.resizing.sizes.resized_size`.
    """
    least, most = (torch.scalar_tensor(each or 0, dtype=torch.float64) for each in (data.min_size, data.max_size))
    factor = least / sides.amin(0)  # a number divided by a tensor would be rounded twice
    if data.max_size is not None:
        factor = torch.minimum(factor, most / sides.amax(0))
    scaled = sides * factor
    scaled = scaled.floor() if data.rounding == "down" else scaled.round()
    return scaled.clamp(min=LEAST_SIDE), factor


class Resize(nn.Module):
    """Pictures (N, H, W, 3) uint8 of any size to resized ones, and what brings their boxes back.

    scale (4,) float32: by it boxes in resized pixels are divided; limit (4,) float32: then no coordinate is above it.
    """

    def __init__(self, data: Data) -> None:
        """Resize as these parameters say.

        Raises:
            UserError: bicubic without antialias, of which torch computes the border in another way.
        """
        super().__init__()
        if data.interpolation == "bicubic" and not data.antialias:
            raise UserError("data: bicubic without antialias cannot be part of an exported file; use --resize outside")
        self.data = data

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return resized pictures, scale and limit."""
        height, width, depth = images.shape[1:]
        original = torch.stack([torch.scalar_tensor(side, dtype=torch.float64) for side in (height, width)])
        resized, factor = resized_sides(original, self.data)
        new_height, new_width = resized.long().tolist()
        torch._check(new_height >= LEAST_SIDE)
        torch._check(new_width >= LEAST_SIDE)
        wide = resize_axis(images.float(), new_width, self.data).reshape(-1, height, new_width * depth)
        pixels = resize_axis(wide, new_height, self.data).reshape(-1, new_height, new_width, depth)
        one = BOX_CONVENTIONS[self.data.box_convention].one_factor
        scale = factor.expand(4) if one else (resized / original).flip(0).repeat(2)
        return pixels.to(torch.uint8), scale.float(), original.flip(0).repeat(2).float()


def resize_axis(images: Tensor, size: int, data: Data) -> Tensor:
    """Return images (..., L, P) float32 of whole numbers 0..255 with the last axis but one resized: (..., size, P)."""
    weights, scale = axis_weights(images.shape[-2], size, data)
    return ((weights.float() @ images) / scale.float() + 0.5).floor().clamp(0, 255)


def axis_weights(length: int, size: int, data: Data) -> tuple[Tensor, Tensor]:
    """Return the weights (size, length) float64, whole numbers, of pixels in pixels, and what a row sums up to."""
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
    bits = (torch.log2((2**15 - 0.5) / weights.amax((0, 1))).ceil() - 1).clamp(max=BITS)  # the largest stays below 2^15
    return (weights.abs() * 2**bits + 0.5).floor() * weights.sign(), 2**bits


def _curve(distance: Tensor, data: Data) -> Tensor:
    """Return the weight of a pixel at a distance in pixels, of the smaller image where it is anti-aliased."""
    if data.interpolation == "bilinear":
        return (1 - distance).clamp(min=0)
    a = -0.5 if data.antialias else -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
