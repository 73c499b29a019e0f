"""Draw boxes into pictures, and what the lines mean below them.

Boxes are (n, 4) xyxy in pixels of the picture that is handed in, continuous, labels (n,) 1..C.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from frcnn.colors import BLACK, WHITE, YELLOW, class_color, readable_on
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import Detections
from frcnn.fonts import legible, shorten
from frcnn.report.canvas import Canvas, Tag

SAMPLE = (90, 90, 90)  # color of the legend's lines


@dataclass(frozen=True)
class Mistakes:
    """Which of D detections are wrong, (D,) bool, and which of G objects are missed, (G,) bool."""

    wrong: np.ndarray
    missed: np.ndarray


def draw(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    annotation: Annotation | None = None,
    mistakes: Mistakes | None = None,
) -> np.ndarray:
    """Draw detections, and the objects of an annotation over them.

    A detection is a solid box in the color of its class with the name and score on a filled ground; a wrong one is
    dotted, with a cross before its name. An object is a box of white dashes; it is named in white on black or, where
    the mistakes are known, if it is missed. Of very many boxes only mistakes and the highest scores have their names.

    Args:
        image: (H, W, 3) uint8 RGB.
        detections: in pixels of the image.
        class_names: without background; label 1 is the first; written by number where no font has the letters.
        annotation: the ground truth, if it is to be shown.
        mistakes: of these detections and objects, if they are to be marked.

    Returns:
        (kH, kW, 3) uint8, enlarged by a whole k if the picture is small.
    """
    canvas, names = Canvas.of(image), legible([shorten(name) for name in class_names])
    tags: list[Tag] = []
    for i in np.argsort(detections.scores, kind="stable"):  # the highest score on top
        box, label = canvas.scaled(detections.boxes[i]), int(detections.labels[i])
        color, wrong = class_color(label), mistakes is not None and bool(mistakes.wrong[i])
        (canvas.dotted if wrong else canvas.solid)(box, color)
        text = f"{names[label - 1]} {detections.scores[i]:.2f}"
        tags.append(Tag(box, text, readable_on(color), color, crossed=wrong))
    tags.reverse()
    if annotation is not None:
        for i, label in enumerate(annotation.labels):
            box = canvas.scaled(annotation.boxes[i])
            canvas.dashed(box)
            if mistakes is None or mistakes.missed[i]:
                text = names[label - 1] + (" missed" if mistakes else "")
                tags.append(Tag(box, text, WHITE, BLACK, below=True))
    canvas.write(sorted(tags, key=lambda tag: not (tag.crossed or tag.below)))
    return np.asarray(canvas.picture)


def draw_objects(image: np.ndarray, annotation: Annotation, class_names: Sequence[str]) -> np.ndarray:
    """Draw the objects of an annotation alone, as `draw` does."""
    nothing = Detections(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
    return draw(image, nothing, class_names, annotation)


def draw_anchors(image: np.ndarray, objects: np.ndarray, positive_anchors: np.ndarray) -> np.ndarray:
    """Draw objects (white dashes) over their positive anchors (yellow).

    Args:
        image: (H, W, 3) uint8 RGB.
        objects: (n, 4).
        positive_anchors: (m, 4).

    Returns:
        (kH, kW, 3) uint8, enlarged by a whole k if the picture is small.
    """
    canvas = Canvas.of(image)
    for box in positive_anchors:
        canvas.solid(canvas.scaled(box), YELLOW, width=max(2, canvas.line // 2))
    for box in objects:
        canvas.dashed(canvas.scaled(box))
    return np.asarray(canvas.picture)


def add_legend(image: np.ndarray, texts: Mapping[str, str]) -> np.ndarray:
    """Return a drawn picture (H, W, 3) uint8 with a strip below it, or more, that explains its lines.

    Args:
        image: as `draw` returns it.
        texts: what each kind of line means: solid, dotted or dashed.
    """
    width, height = image.shape[1], max(12, image.shape[1] // 80)
    step, font = 2 * height, ImageFont.load_default(height)
    rows, places = [0], []  # the filled width of each row; where each text belongs
    for text in texts.values():
        needed = round(font.getlength(text)) + 3 * step
        if rows[-1] and rows[-1] + needed > width:
            rows.append(0)
        places.append((rows[-1], image.shape[0] + step * (len(rows) - 1)))
        rows[-1] += needed
    paper = Image.new("RGB", (max(width, *rows), image.shape[0] + step * len(rows)), WHITE)
    paper.paste(Image.fromarray(image))
    canvas = Canvas(paper, ImageDraw.Draw(paper), 1, max(2, height // 8), height, font)
    for (x, y), (kind, text) in zip(places, texts.items(), strict=True):
        box = (x + 0.5 * step, y + 0.2 * step, x + 2 * step, y + 0.8 * step)
        if kind == "dashed":
            canvas.dashed(box)
        else:
            {"solid": canvas.solid, "dotted": canvas.dotted}[kind](box, SAMPLE)
        if kind == "dotted":
            canvas.cross((round(x + 1.25 * step - height / 3), round(y + step / 2 - height / 3)), BLACK)
        canvas.pen.text((x + 2.3 * step, y + 0.5 * step), text, fill=BLACK, font=font, anchor="lm")
    return np.asarray(paper)


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
