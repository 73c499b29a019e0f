"""Time and memory of the commands on large datasets of generated names: python -m benchmarks.scale.

The pictures of a dataset are links to a few. Each command runs in a process of its own, whose peak memory is given.
"""

import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.detections import Detections, join_detections
from frcnn.detections.hdf5 import write_detections

SIDE = 1000  # pixels
# What grows: (pictures, objects of each, classes).
CASES = {
    "objects of one picture": [(1, 1_000, 20), (1, 10_000, 20), (1, 100_000, 20)],
    "pictures": [(1_000, 3, 20), (10_000, 3, 20), (100_000, 3, 20)],
    "classes": [(1_000, 10, 10), (1_000, 10, 100), (1_000, 10, 1_000)],
}
COMMANDS = ("check", "anchors", "evaluate", "render")
OBJECT = (
    "<object><name>class{:04}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
    "</bndbox></object>"
)
LINKS = 10_000  # to one file; file systems have limits
MOST_DETECTIONS = 100  # of a picture


def make_project(folder: Path, pictures: int, objects: int, classes: int) -> None:
    """Write a dataset, and detections that find every object up to `MOST_DETECTIONS` of a picture."""
    dataset, draw = folder / "data" / "dataset", np.random.default_rng(1)
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (dataset / name).mkdir(parents=True)
    ids, found = [f"{number:06}" for number in range(pictures)], []
    (dataset / "ImageSets" / "Main" / "all.txt").write_text("".join(f"{name}\n" for name in ids))
    (dataset / "classes.txt").write_text("".join(f"class{label:04}\n" for label in range(1, classes + 1)))
    for name in ids:
        corners = draw.integers(1, SIDE - 250, (objects, 2))
        boxes = np.hstack([corners, corners + draw.integers(50, 250, (objects, 2))])
        labels = draw.integers(1, classes + 1, objects)
        body = "".join(OBJECT.format(label, *box) for label, box in zip(labels.tolist(), boxes.tolist(), strict=True))
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
        (dataset / "Annotations" / f"{name}.xml").write_text(f"<annotation>{size}{body}</annotation>")
        shown = (boxes[:MOST_DETECTIONS] - [1, 1, 0, 0]).astype(np.float32)
        found.append(Detections(shown, draw.random(len(shown), np.float32), labels[:MOST_DETECTIONS]))
    picture = Image.new("RGB", (SIDE, SIDE), "gray")
    for number, name in enumerate(ids):
        path = dataset / "JPEGImages" / f"{name}.jpg"
        if number % LINKS == 0:
            picture.save(source := path)
        else:
            path.hardlink_to(source)
    classes_of_set = VocDataset(dataset).class_names
    write_detections(folder / "data" / "detections.h5", join_detections(ids, classes_of_set, found, "all"))


def measure(folder: Path, command: str) -> tuple[float, float]:
    """Run a command; return its seconds and its peak memory in MiB, the largest of its processes."""
    start = time.monotonic()
    with (folder / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-m", "stages.cli", command], cwd=folder, stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit((folder / "said").read_text())
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    print(f"{'what grows':<24}{'pictures':>10}{'objects':>10}{'classes':>8}  command      seconds     MiB")
    for what, sizes in CASES.items():
        for pictures, objects, classes in sizes:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                # In a process of its own: the peak memory of a command counts what its parent has, too.
                maker = get_context("spawn").Process(target=make_project, args=(folder, pictures, objects, classes))
                maker.start()
                maker.join()
                (folder / "params.yaml").write_text("splits: {train: all, test: all}\n")
                for command in COMMANDS:
                    seconds, memory = measure(folder, command)
                    numbers = f"{pictures:>10,}{pictures * objects:>10,}{classes:>8,}"
                    print(f"{what:<24}{numbers}  {command:<10}{seconds:>10.1f}{memory:>8.0f}", flush=True)


if __name__ == "__main__":
    main()
