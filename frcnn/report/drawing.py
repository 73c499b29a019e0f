"""Draw boxes into pictures, legibly from 100 to 4,000 pixels.

Boxes are (n, 4) xyxy in pixels of the picture that is handed in, continuous, labels (n,) 1..C.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import Detections
from frcnn.fonts import find_font, legible

MOST_TAGS = 300  # in a picture: more would hide it, and each looks for a place among those before
SHORT_SIDE = 480  # px: smaller pictures are enlarged by a whole factor to about this
WHITE, BLACK, GREEN, YELLOW = (255, 255, 255), (0, 0, 0), (0, 230, 64), (255, 220, 0)
# Far apart in hue or lightness, and none close to the green of the objects; later classes turn the hue on.
PALETTE = [
    (230, 25, 75), (0, 130, 255), (255, 140, 0), (170, 60, 230), (0, 190, 190), (255, 105, 180),
    (150, 90, 30), (255, 215, 0), (70, 70, 220), (128, 0, 0), (190, 160, 255), (128, 128, 0),
]  # fmt: skip
Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]


def class_color(label: int) -> Color:
    """Return the color of a class 1..C; it depends on nothing but the label."""
    if label <= len(PALETTE):
        return PALETTE[label - 1]
    turn = (label * 0.618034) % 1  # the golden angle: never near the one before
    # Green lies at a third of the circle, so the hues run around it: 0.45 to 1.25.
    red, green, blue = colorsys.hsv_to_rgb(
        (0.45 + 0.8 * turn) % 1, (0.9, 0.55)[label % 2], (0.95, 0.75)[label // 2 % 2]
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(
    image: np.ndarray, detections: Detections, class_names: Sequence[str], annotation: Annotation | None = None
) -> np.ndarray:
    """Draw detections, and the objects of an annotation below them.

    A detection is a solid box in the color of its class with the name and score on a filled ground; an object is a
    dashed green box with its name in green on black. Of very many, only those of highest score have their names.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: in pixels of the image.
        class_names: without background; label 1 is the first; written by number where no font has the letters.
        annotation: the ground truth, if it is to be shown.

    Returns:
        (kH, kW, 3) uint8, enlarged by a whole k if the picture is small.
    """
    canvas, names = _Canvas.of(image), legible(class_names)
    tags: list[_Tag] = []
    if annotation is not None:
        for box, label in zip(annotation.boxes, annotation.labels, strict=True):
            canvas.dashed(box, GREEN)
            tags.append(_Tag(canvas.scaled(box), names[label - 1], GREEN, BLACK, below=True))
    for i in np.argsort(detections.scores, kind="stable"):  # the highest score on top
        box, label = detections.boxes[i], int(detections.labels[i])
        color = class_color(label)
        canvas.solid(box, color)
        text = f"{names[label - 1]} {detections.scores[i]:.2f}"
        tags.append(_Tag(canvas.scaled(box), text, _readable_on(color), color))
    canvas.write(tags[::-1])
    return np.asarray(canvas.picture)


def draw_objects(image: np.ndarray, annotation: Annotation, class_names: Sequence[str]) -> np.ndarray:
    """Draw the objects of an annotation alone, as `draw` does."""
    nothing = Detections(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
    return draw(image, nothing, class_names, annotation)


def draw_anchors(image: np.ndarray, objects: np.ndarray, positive_anchors: np.ndarray) -> np.ndarray:
    """Draw objects (green) over their positive anchors (yellow, thin).

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: (n, 4).
        positive_anchors: (m, 4).

    Returns:
        (kH, kW, 3) uint8, enlarged by a whole k if the picture is small.
    """
    canvas = _Canvas.of(image)
    for box in positive_anchors:
        canvas.solid(box, YELLOW, width=max(1, canvas.line // 2), edge=False)
    for box in objects:
        canvas.solid(box, GREEN)
    return np.asarray(canvas.picture)


def contact_sheet(images: Sequence[np.ndarray], cell: int = 360, gap: int = 8) -> np.ndarray:
    """Return pictures (H, W, 3) uint8, shrunk to fit squares of `cell` px, in a grid on white."""
    # At least as wide as high, at most four in a row, the last row as full as possible.
    columns = min(range(max(1, min(4, math.ceil(len(images) ** 0.5))), 5), key=lambda n: (-len(images) % n, n))
    small = []
    for image in images:
        picture = Image.fromarray(image)
        picture.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        small.append(picture)
    rows = [small[i : i + columns] for i in range(0, len(small), columns)]
    width = max((sum(picture.width + gap for picture in row) for row in rows), default=cell) + gap
    sheet = Image.new("RGB", (width, sum(max(p.height for p in row) + gap for row in rows) + gap), WHITE)
    y = gap
    for row in rows:
        height = max(picture.height for picture in row)
        x = (width - sum(picture.width + gap for picture in row) + gap) // 2
        for picture in row:
            sheet.paste(picture, (x, y + (height - picture.height) // 2))
            x += picture.width + gap
        y += height + gap
    return np.asarray(sheet)


@dataclass(frozen=True)
class _Tag:
    """A text that belongs to a box in pixels of the canvas, above its top edge or, if `below`, under its bottom one."""

    box: Rectangle
    text: str
    color: Color
    ground: Color
    below: bool = False


@dataclass(frozen=True)
class _Canvas:
    """A picture at `factor` times its size, with lines and letters that suit it."""

    picture: Image.Image
    pen: ImageDraw.ImageDraw
    factor: int
    line: int
    height: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    @classmethod
    def of(cls, image: np.ndarray) -> "_Canvas":
        factor = max(1, round(SHORT_SIDE / min(image.shape[:2])))
        # Limited for pictures like ribbons, which would become very long.
        factor = max(1, min(factor, 4 * SHORT_SIDE // max(image.shape[:2])))
        picture = Image.fromarray(image)
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
        side = (picture.width * picture.height) ** 0.5
        line, height = max(2, round(side / 220)), max(12, round(side / 38))
        return cls(picture, ImageDraw.Draw(picture), factor, line, height, ImageFont.load_default(height))

    def scaled(self, box: np.ndarray) -> Rectangle:
        x1, y1, x2, y2 = (float(value) * self.factor for value in box)
        return x1, y1, x2, y2

    def solid(self, box: np.ndarray, color: Color, width: int | None = None, edge: bool = True) -> None:
        """Draw a box; an `edge` of black around the line makes it stand out from grounds of its color."""
        x1, y1, x2, y2 = self.inside(box)
        width = width or self.line
        if edge:
            self.pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=BLACK, width=width + 2)
        self.pen.rectangle((x1, y1, x2, y2), outline=color, width=width)

    def dashed(self, box: np.ndarray, color: Color) -> None:
        """Draw a box whose line alternates with black."""
        left, top, right, bottom = self.inside(box)
        self.pen.rectangle((left, top, right, bottom), outline=BLACK, width=self.line)
        thick = self.line - 1
        for a, b in _dashes(right - left, 4 * self.line):
            self.pen.rectangle((left + a, top, left + b, min(top + thick, bottom)), fill=color)
            self.pen.rectangle((left + a, max(bottom - thick, top), left + b, bottom), fill=color)
        for a, b in _dashes(bottom - top, 4 * self.line):
            self.pen.rectangle((left, top + a, min(left + thick, right), top + b), fill=color)
            self.pen.rectangle((max(right - thick, left), top + a, right, top + b), fill=color)

    def inside(self, box: np.ndarray) -> tuple[int, int, int, int]:
        """Return the first and last pixels of a box, moved into the picture, in order."""
        x1, y1, x2, y2 = self.scaled(box)
        width, height = self.picture.size
        left, top = (min(max(round(value), 0), size - 1) for value, size in ((x1, width), (y1, height)))
        right, bottom = (min(round(value) - 1, size - 1) for value, size in ((x2, width), (y2, height)))
        return left, top, max(left, right), max(top, bottom)

    def write(self, tags: Sequence[_Tag]) -> None:
        """Write the first `MOST_TAGS` tags, each where it hides none of those before it, if there is such a place."""
        taken: list[Rectangle] = []
        for tag in tags[:MOST_TAGS]:
            pad, font, sample = max(2, self.line), self.font, "Ap"
            if not tag.text.isascii() and (path := find_font(tag.text)):
                font, sample = ImageFont.truetype(path, self.height), f"Ap{tag.text}"
            left, _, right, _ = self.pen.textbbox((0, 0), tag.text, font=font)
            # The height of the font, not of this text's letters, so that all tags in Latin letters are of one height.
            ascent, descent = self.pen.textbbox((0, 0), sample, font=font)[1::2]
            width, height = right - left + 2 * pad, descent - ascent + 2 * pad
            x, y = self.place(tag, width, height, taken)
            taken.append((x, y, x + width, y + height))
            self.pen.rectangle((x, y, x + width - 1, y + height - 1), fill=tag.ground)
            self.pen.text((x + pad - left, y + pad - ascent), tag.text, fill=tag.color, font=font)

    def place(self, tag: _Tag, width: float, height: float, taken: Sequence[Rectangle]) -> tuple[int, int]:
        """Return the upper left corner of the first free place for a tag, or of the least occupied."""
        x1, y1, x2, y2 = tag.box
        outside, inside = [y1 - height, y2], [y1, y2 - height]
        further = [y1 - 2 * height, y2 + height, y1 - 3 * height, y2 + 2 * height]
        if tag.below:
            outside, inside = outside[::-1], inside[::-1]
        # In a small box a tag would hide the object itself.
        rows = outside + (further + inside if y2 - y1 < 4 * height else inside + further)
        spots = [(x, y) for y in rows for x in (x1, x2 - width)]
        most_x, most_y = self.picture.width - width, self.picture.height - height
        spots = [(max(0, min(x, most_x)), max(0, min(y, most_y))) for x, y in spots]

        def hidden(spot: tuple[float, float]) -> float:
            x, y = spot
            return sum(
                max(0.0, min(x + width, right) - max(x, left)) * max(0.0, min(y + height, bottom) - max(y, top))
                for left, top, right, bottom in taken
            )

        x, y = min(spots, key=hidden)  # the first of equals
        return round(x), round(y)


def _dashes(length: int, dash: int) -> list[tuple[int, int]]:
    """Return the (first, last) pixels of dashes with gaps of half their length; there is one at either end."""
    count = max(1, round((length + dash / 2) / (1.5 * dash)))
    period = (length + dash / 2) / count
    return [(round(i * period), min(round((i + 2 / 3) * period), length)) for i in range(count)]


def _readable_on(color: Color) -> Color:
    """Return black or white, whichever is read better on a color."""
    red, green, blue = color
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
