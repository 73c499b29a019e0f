"""Draw one synthetic picture: a textured background and one to four colored shapes.

H, W: height and width of the picture in pixels. All randomness comes from the generator handed in.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ["circle", "cross", "rectangle", "ring", "star", "triangle"]  # sorted
SHORT_SIDE, LONG_SIDE = 160, (160, 224)  # px
DIAMETER = (22, 100)  # px of the circle around a shape
MAX_COVERED = 0.3  # part of a shape that others may hide
MIN_INSIDE = 0.8  # part of a shape that must lie in the picture
SUPERSAMPLING = 4
PLACES_TRIED = 30


@dataclass(frozen=True)
class Shape:
    """One drawn object: class name, (4,) int xyxy bounds in pixels, and whether the border cuts it off."""

    name: str
    box: tuple[int, int, int, int]
    truncated: bool


def draw_picture(rng: np.random.Generator) -> tuple[np.ndarray, list[Shape]]:
    """Return an (H, W, 3) uint8 RGB picture and its objects.

    A box is the tight extent of the whole shape, also where another covers it, cut at the border of the picture.
    """
    long_side = int(rng.integers(LONG_SIDE[0], LONG_SIDE[1] + 1))
    height, width = (SHORT_SIDE, long_side) if rng.random() < 0.5 else (long_side, SHORT_SIDE)
    canvas = _background(height, width, rng)
    shapes: list[Shape] = []
    masks: list[np.ndarray] = []
    colors: list[np.ndarray] = []
    visible: list[np.ndarray] = []
    for _ in range(rng.integers(1, 5)):
        name = CLASSES[rng.integers(len(CLASSES))]
        placed = _place(name, height, width, masks, visible, rng)
        if placed is None:
            continue
        mask, box, truncated = placed
        solid = mask >= 0.5
        color = _contrasting_color([canvas[solid].mean(axis=0), *colors], rng)
        _paint(canvas, mask, color, rng)
        visible = [seen & ~solid for seen in visible] + [solid]
        masks.append(solid)
        colors.append(color)
        shapes.append(Shape(name, box, truncated))
    return canvas.round().clip(0, 255).astype(np.uint8), shapes


def _background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return an (H, W, 3) float64 texture: a gradient or stripes, under noise of several scales."""
    colors = rng.uniform(30, 225, 3) + rng.uniform(-45, 45, (2, 3))
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:height, 0:width]
    along = (x * math.cos(angle) + y * math.sin(angle)) / SHORT_SIDE
    kind = rng.integers(3)
    if kind == 0:
        mix = (along - along.min()) / (along.max() - along.min())
    elif kind == 1:
        mix = 0.5 + 0.5 * np.sin(along * rng.uniform(10, 80) + rng.uniform(0, 6))
    else:
        mix = np.full((height, width), 0.5)
    canvas = colors[0] + mix[..., None] * (colors[1] - colors[0])
    for scale in (1, 4, 16, 48):
        canvas += rng.uniform(0, 14) * _noise(height, width, scale, rng)
    return canvas


def _noise(height: int, width: int, scale: int, rng: np.random.Generator) -> np.ndarray:
    """Return (H, W, 1 or 3) float noise of unit deviation, smooth over `scale` pixels, gray or colored."""
    rows, columns = height // scale + 2, width // scale + 2
    planes = [rng.standard_normal((rows, columns), np.float32) for _ in range(rng.choice([1, 3]))]
    size = (width, height)
    if scale == 1:
        return np.stack([plane[:height, :width] for plane in planes], axis=2)
    return np.stack([np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in planes], axis=2)


def _place(
    name: str, height: int, width: int, masks: list[np.ndarray], visible: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[int, int, int, int], bool] | None:
    """Find a place for a new shape; return its (H, W) mask in 0..1, its box and whether it is cut off."""
    for _ in range(PLACES_TRIED):
        diameter = math.exp(rng.uniform(math.log(DIAMETER[0]), math.log(DIAMETER[1])))
        patch = _shape_mask(name, diameter, rng)
        side = patch.shape[0]
        left, top = (int(rng.integers(-side // 4, limit - side + side // 4 + 1)) for limit in (width, height))
        mask = np.zeros((height, width))
        rows = slice(max(top, 0), min(top + side, height))
        columns = slice(max(left, 0), min(left + side, width))
        mask[rows, columns] = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        solid = mask >= 0.5
        whole = (patch >= 0.5).sum()
        if solid.sum() < MIN_INSIDE * whole:
            continue
        hidden = [1 - (seen & ~solid).sum() / own.sum() for seen, own in zip(visible, masks, strict=True)]
        if max(hidden, default=0) <= MAX_COVERED:
            return mask, _bounds(solid), bool(solid.sum() < whole)
    return None


def _shape_mask(name: str, diameter: float, rng: np.random.Generator) -> np.ndarray:
    """Return an anti-aliased square mask, float in 0..1, of a shape at a random rotation."""
    side = math.ceil(diameter) + 2
    image = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING))
    draw = ImageDraw.Draw(image)
    center, radius = side * SUPERSAMPLING / 2, diameter * SUPERSAMPLING / 2
    if name in ("circle", "ring"):
        draw.circle((center, center), radius, fill=255)
        if name == "ring":
            draw.circle((center, center), radius * rng.uniform(0.5, 0.65), fill=0)
    else:
        angle = rng.uniform(0, 2 * math.pi)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        points = _polygon(name, rng) @ turn * radius + center
        draw.polygon([tuple(point) for point in points.tolist()], fill=255)
    return np.asarray(image.resize((side, side), Image.Resampling.BOX)) / 255.0


def _polygon(name: str, rng: np.random.Generator) -> np.ndarray:
    """Return (points, 2) corners of a shape inside the unit circle."""
    if name == "rectangle":
        half = math.atan(rng.uniform(0.45, 1.0))
        return _on_circle(np.array([half, math.pi - half, math.pi + half, -half]))
    if name == "triangle":
        apex = rng.uniform(0.85, 1.15) * 2 * math.pi / 3
        return _on_circle(np.array([0, apex, 2 * math.pi - apex]))
    if name == "star":
        radii = np.tile([1.0, 0.42], 5)
        return _on_circle(np.arange(10) * math.pi / 5) * radii[:, None]
    arm, half = 0.96, 0.96 * rng.uniform(0.24, 0.32)  # the corners of the arms touch the unit circle
    corner = [(arm, half), (half, half), (half, arm)]
    quarter = np.array([[0, 1], [-1, 0]])
    return np.concatenate([np.array(corner) @ np.linalg.matrix_power(quarter, k) for k in range(4)])


def _on_circle(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _bounds(solid: np.ndarray) -> tuple[int, int, int, int]:
    """Return the tight xyxy bounds of a boolean (H, W) mask."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _contrasting_color(others: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return (3,) RGB, of eight at random the one whose nearest neighbor among `others` is farthest."""
    candidates = rng.uniform(0, 255, (8, 3))
    distances = np.linalg.norm(candidates[:, None] - np.stack(others), axis=2).min(axis=1)
    return candidates[distances.argmax()]


def _paint(canvas: np.ndarray, mask: np.ndarray, color: np.ndarray, rng: np.random.Generator) -> None:
    """Lay a shape over the canvas, in place, with mild shading and noise."""
    height, width = mask.shape
    shade = rng.uniform(0, 20) * _noise(height, width, 16, rng) + rng.uniform(0, 6) * _noise(height, width, 1, rng)
    canvas += mask[..., None] * (color + shade - canvas)
