"""Write a folder of pictures with boxes, and an overview of them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.pictures import read_picture
from frcnn.files import atomic_folder
from frcnn.report.drawing import add_legend, contact_sheet

OVERVIEW = "overview.png"


def random_order(count: int, seed: int) -> list[int]:
    """Return 0 to count - 1 in a random order; the first of it are drawn."""
    return np.random.default_rng(seed).permutation(count).tolist()


def write_renders(
    folder: Path,
    annotations: Sequence[Annotation],
    draw: Callable[[np.ndarray, Annotation], np.ndarray],
    legend: Mapping[str, str],
    before_end: Callable[[], None] = lambda: None,
) -> None:
    """Draw pictures and an overview into a folder, which is replaced as a whole.

    Args:
        folder: where to write; if it is not empty it must hold an overview.
        annotations: of the pictures.
        draw: returns a picture (H, W, 3) uint8 with what is to be seen of it.
        legend: what the lines mean, as of `add_legend`.
        before_end: called before the folder is replaced; may raise.

    Raises:
        UserError: the folder holds something else or cannot be written, or a picture cannot be read.
    """

    def write(annotation: Annotation) -> np.ndarray:
        picture, name = draw(read_picture(annotation.path), annotation), annotation.image_id.replace("/", "_")
        Image.fromarray(add_legend(picture, legend)).save(scratch / "new" / f"{name}.png")
        return picture

    with atomic_folder(folder, OVERVIEW) as scratch, ThreadPoolExecutor() as pool:
        sheet = contact_sheet(list(pool.map(write, annotations)))
        Image.fromarray(add_legend(sheet, legend)).save(scratch / "new" / OVERVIEW)
        before_end()
