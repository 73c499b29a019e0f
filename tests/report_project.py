"""A hand-made project of six pictures whose report can be worked out on paper; names as hostile as they may be."""

from pathlib import Path

import numpy as np
from PIL import Image

from frcnn.detections.detections import Detections, SplitDetections, join_detections
from frcnn.detections.hdf5 import write_detections
from tests.factories import voc_object, write_list, write_voc

SCRIPT, FORMULA, ARABIC = '<script>alert("x")</script>', "=R&D'\"", "سيارة"
NAMES = [SCRIPT, FORMULA, ARABIC]
IDS = ["<img src=x onerror=alert(1)>", 'a "quoted" & b', "c'", "صورة", "=5+5", "f"]
LEFT, RIGHT = (11, 21, 40, 60), (61, 21, 90, 60)  # as VOC writes them
LEFT_BOX, RIGHT_BOX = [10, 20, 40, 60], [60, 20, 90, 60]


def write_dataset(folder: Path, names: list[str] = NAMES) -> Path:
    """Write pictures of 100 x 80: a first class at the left of all, a second at the right of the first three."""
    first, second = (escape(names[i % len(names)]) for i in (0, 1))
    objects = {image: voc_object(first, LEFT) for image in IDS}
    for image in IDS[:3]:
        objects[image] += voc_object(second, RIGHT)
    write_voc(folder, objects, "".join(f"{name}\n" for name in names))
    write_list(folder, "".join(f"{image}\n" for image in IDS), "test")
    for number, image in enumerate(IDS):
        Image.new("RGB", (100, 80), (40 * number, 90, 128)).save(folder / "JPEGImages" / f"{image}.jpg")
    return folder


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def some_detections(names: list[str] = NAMES) -> SplitDetections:
    """Return what finds the first class in five pictures, takes the second for the third once, and adds an alarm.

    Class 1: found at 0.9, 0.9, 0.8, 0.8, 0.3, missed in the last picture. Class 2: found at 0.7 once; in the second
    picture class 3 is detected there at 0.95; missed in the third. In the fourth there is class 2 on nothing, at 0.6.
    """
    each = [
        [(LEFT_BOX, 0.9, 1), (RIGHT_BOX, 0.7, 2)],
        [(LEFT_BOX, 0.9, 1), (RIGHT_BOX, 0.95, 3)],
        [(LEFT_BOX, 0.8, 1)],
        [(LEFT_BOX, 0.8, 1), (RIGHT_BOX, 0.6, 2)],
        [(LEFT_BOX, 0.3, 1)],
        [],
    ]
    return join_detections(IDS, names, [of_image(rows) for rows in each], "test")


def of_image(rows: list[tuple[list[int], float, int]]) -> Detections:
    return Detections(
        np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[1] for row in rows], np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def nothing(names: list[str] = NAMES) -> SplitDetections:
    return join_detections(IDS, names, [of_image([]) for _ in IDS], "test")


def all_wrong(names: list[str] = NAMES) -> SplitDetections:
    return join_detections(IDS, names, [of_image([([0, 0, 5, 5], 0.9, 1)]) for _ in IDS], "test")


def write_project(folder: Path, detections: SplitDetections | None = None, names: list[str] = NAMES) -> Path:
    """Write dataset and detections where `frcnn report` looks for them."""
    folder.mkdir(exist_ok=True)
    write_dataset(folder / "data" / "dataset", names)
    write_detections(folder / "data" / "detections.h5", some_detections(names) if detections is None else detections)
    (folder / "params.yaml").write_text("{}\n")
    return folder
