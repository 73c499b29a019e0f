"""Draw a dataset of shapes in VOC layout, for the demo and the tests: seeded, offline, in seconds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from frcnn.files import write_text
from frcnn.parallel import mapper
from frcnn.sources.shapes import CLASSES, Shape, draw_picture

SPLITS = ("train", "val", "test")
JPEG_QUALITY = 95


def draw_dataset(
    folder: Path,
    train_images: int,
    val_images: int,
    test_images: int,
    seed: int,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write pictures, annotations, the splits train, val, trainval and test, and classes.txt into `folder`.

    The same seed gives the same bytes, whatever the number of workers; a picture depends on the seed, its split and
    its place in it alone.

    Args:
        folder: where to write; created.
        train_images: number of pictures of the split.
        val_images: number of pictures of the split.
        test_images: number of pictures of the split.
        seed: of all randomness.
        workers: processes.
        on_progress: called with (pictures done, pictures in all).
    """
    folder = Path(folder)
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    counts = dict(zip(SPLITS, (train_images, val_images, test_images), strict=True))
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    with mapper(workers) as parallel:
        for done, _ in enumerate(parallel(partial(_write_picture, folder, seed), jobs), 1):
            if on_progress:
                on_progress(done, len(jobs))
    ids = {split: [_image_id(split, index) for index in range(count)] for split, count in counts.items()}
    ids["trainval"] = ids["train"] + ids["val"]
    for split, lines in ids.items():
        write_text(folder / "ImageSets" / "Main" / f"{split}.txt", "".join(f"{line}\n" for line in lines))
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in CLASSES))


def _image_id(split: str, index: int) -> str:
    return f"{split}_{index + 1:05d}"


def _write_picture(folder: Path, seed: int, job: tuple[str, int]) -> None:
    split, index = job
    picture, shapes = draw_picture(np.random.default_rng([seed, SPLITS.index(split), index]))
    name = _image_id(split, index)
    Image.fromarray(picture).save(folder / "JPEGImages" / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
    height, width = picture.shape[:2]
    write_text(folder / "Annotations" / f"{name}.xml", _annotation(f"{name}.jpg", width, height, shapes))


def _annotation(filename: str, width: int, height: int, shapes: list[Shape]) -> str:
    """Return an annotation in VOC's format; its coordinates count from 1 and include both ends."""
    lines = ["<annotation>", f"  <filename>{filename}</filename>"]
    lines.append(f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>")
    for shape in shapes:
        x1, y1, x2, y2 = shape.box
        lines += [
            "  <object>",
            f"    <name>{shape.name}</name>",
            f"    <truncated>{int(shape.truncated)}</truncated>",
            "    <difficult>0</difficult>",
            f"    <bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>",
            "  </object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])
