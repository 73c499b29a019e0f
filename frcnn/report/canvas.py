"""A picture on which boxes are drawn and named, legibly from 100 to 4,000 pixels.

Boxes are xyxy in pixels of the picture that is handed in, continuous.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from frcnn.colors import BLACK, WHITE, Color, readable_on
from frcnn.fonts import find_font

MOST_TAGS = 300  # in a picture: more would hide it
SHORT_SIDE = 480  # px: smaller pictures are enlarged by a whole factor to about this
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class Tag:
    """A text that belongs to a box in pixels of the canvas, above its top edge or, if `below`, under its bottom one."""

    box: Rectangle
    text: str
    color: Color
    ground: Color
    below: bool = False
    crossed: bool = False  # a cross before the text


@dataclass(frozen=True)
class Canvas:
    """A picture at `factor` times its size, with lines and letters (px) that suit it."""

    picture: Image.Image
    pen: ImageDraw.ImageDraw
    factor: int
    line: int
    height: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    @classmethod
    def of(cls, image: np.ndarray) -> "Canvas":
        """Return a canvas with a copy of a picture (H, W, 3) uint8."""
        factor = max(1, round(SHORT_SIDE / min(image.shape[:2])))
        # Limited for pictures like ribbons, which would become very long.
        factor = max(1, min(factor, 4 * SHORT_SIDE // max(image.shape[:2])))
        picture = Image.fromarray(image)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
        side = (picture.width * picture.height) ** 0.5
        line, height = max(3, round(side / 220)), max(12, round(side / 38))
        return cls(picture, ImageDraw.Draw(picture), factor, line, height, ImageFont.load_default(height))

    def scaled(self, box: np.ndarray) -> Rectangle:
        """Return a box in pixels of the canvas."""
        x1, y1, x2, y2 = (float(value) * self.factor for value in box)
        return x1, y1, x2, y2

    def solid(self, box: Rectangle, color: Color, width: int | None = None) -> None:
        """Draw a line around a box; black or white beside it makes it stand out from any ground."""
        x1, y1, x2, y2 = self.inside(box)
        width = width or self.line
        self.pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=readable_on(color), width=width + 2)
        self.pen.rectangle((x1, y1, x2, y2), outline=color, width=width)

    def dotted(self, box: Rectangle, color: Color) -> None:
        """Draw a line that alternates with black or white."""
        self.solid(box, readable_on(color))
        for dot in self.pieces(box, 2 * self.line, self.line):
            self.pen.rectangle(dot, fill=color)

    def dashed(self, box: Rectangle) -> None:
        """Draw thin white dashes with a black edge, and leave the line of another box visible between them."""
        dashes = self.pieces(box, 4 * self.line, max(2, 2 * self.line // 3))
        for x1, y1, x2, y2 in dashes:
            self.pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), fill=BLACK)
        for dash in dashes:
            self.pen.rectangle(dash, fill=WHITE)

    def pieces(self, box: Rectangle, length: int, width: int) -> list[tuple[int, int, int, int]]:
        """Return the rectangles of a line around a box that is broken by gaps about as long as its pieces."""
        left, top, right, bottom = self.inside(box)
        thick, pieces = width - 1, []
        for a, b in _pieces(right - left, length):
            pieces.append((left + a, top, left + b, min(top + thick, bottom)))
            pieces.append((left + a, max(bottom - thick, top), left + b, bottom))
        for a, b in _pieces(bottom - top, length):
            pieces.append((left, top + a, min(left + thick, right), top + b))
            pieces.append((max(right - thick, left), top + a, right, top + b))
        return pieces

    def inside(self, box: Rectangle) -> tuple[int, int, int, int]:
        """Return the first and last pixels of a box on the canvas, moved into the picture, in order."""
        x1, y1, x2, y2 = box
        width, height = self.picture.size
        left, top = (min(max(round(value), 0), size - 1) for value, size in ((x1, width), (y1, height)))
        right, bottom = (min(round(value) - 1, size - 1) for value, size in ((x2, width), (y2, height)))
        return left, top, max(left, right), max(top, bottom)

    def write(self, tags: Sequence[Tag]) -> None:
        """Write the first `MOST_TAGS` tags, each where it hides least of small boxes and of the tags before it.

        A tag that would hide a third of one of them everywhere is left out.
        """
        boxes = np.array([tag.box for tag in tags]).reshape(-1, 4)
        small = boxes[(boxes[:, 2:] - boxes[:, :2]).min(axis=1) < 4 * self.height]  # a tag would hide the object
        taken = np.concatenate([small, np.zeros((MOST_TAGS, 4))])
        for number, tag in enumerate(tags[:MOST_TAGS], len(small)):
            pad, font, sample = max(2, self.line), self.font, "Ap"
            if not tag.text.isascii() and (path := find_font(tag.text)):
                font, sample = ImageFont.truetype(path, self.height), f"Ap{tag.text}"
            left, _, right, _ = self.pen.textbbox((0, 0), tag.text, font=font)
            # The height of the font, not of this text's letters, so that all tags in Latin letters are of one height.
            ascent, descent = self.pen.textbbox((0, 0), sample, font=font)[1::2]
            cross = self.height if tag.crossed else 0
            width, height = right - left + cross + 2 * pad, descent - ascent + 2 * pad
            x, y, hidden = self.place(tag, width, height, taken)
            if hidden > 0.3:
                continue
            taken[number] = x, y, x + width, y + height
            self.pen.rectangle((x, y, x + width - 1, y + height - 1), fill=tag.ground)
            if tag.crossed:
                self.cross((x + pad, round(y + height / 2 - self.height / 3)), tag.color)
            self.pen.text((x + pad + cross - left, y + pad - ascent), tag.text, fill=tag.color, font=font)

    def cross(self, corner: tuple[int, int], color: Color) -> None:
        """Draw a cross below and right of its corner, two thirds of the letters' height wide."""
        (x, y), side, width = corner, 2 * self.height // 3, max(2, self.height // 7)
        self.pen.line((x, y, x + side, y + side), fill=color, width=width)
        self.pen.line((x, y + side, x + side, y), fill=color, width=width)

    def place(self, tag: Tag, width: float, height: float, taken: np.ndarray) -> tuple[int, int, float]:
        """Return the upper left corner of the best place for a tag, and how many boxes of `taken` (n, 4) it hides."""
        x1, y1, x2, y2 = tag.box
        outside, inside = [y1 - height, y2], [y1, y2 - height]
        if tag.below:
            outside, inside = outside[::-1], inside[::-1]
        further = [y1 - 2 * height, y2 + height, y1 - 3 * height, y2 + 2 * height]
        corners = [(x, y) for y in outside + inside for x in (x1, x2 - width)]
        corners += [(x2, y1), (x1 - width, y1), *((x, y) for y in further for x in (x1, x2 - width))]
        least = np.array(corners).clip(0, [max(0, self.picture.width - width), max(0, self.picture.height - height)])
        spots = np.concatenate([least, least + [width, height]], axis=1)[:, None]
        shared = np.minimum(spots[..., 2:], taken[:, 2:]) - np.maximum(spots[..., :2], taken[:, :2])
        areas = (taken[:, 2:] - taken[:, :2]).prod(axis=1).clip(1)
        hidden = (shared.clip(0).prod(axis=2) / areas).sum(axis=1)
        best = hidden.argmin()  # the first of equals
        return round(least[best, 0]), round(least[best, 1]), float(hidden[best])


def _pieces(whole: int, length: int) -> list[tuple[int, int]]:
    """Return the (first, last) pixels of the pieces of a broken line; there is one at either end."""
    count = max(1, round((whole / length + 1) / 2))
    half = whole / (2 * count - 1)
    return [(round(2 * i * half), round((2 * i + 1) * half)) for i in range(count)]
