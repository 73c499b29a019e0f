"""Write the same small dataset in several layouts, as other tools do."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Download, Splits
from frcnn.sources.conversion import install_foreign
from frcnn.sources.recognition import find_foreign
from tests.factories import voc_object

SIZE = (100, 80)
Boxes = Mapping[str, Sequence[tuple[str, tuple[float, float, float, float]]]]
# Continuous boxes, float32, of which no decimal of few digits is exact; the last picture shows nothing.
OBJECTS: Boxes = {
    "a": [
        ("cat", (10.100000381469727, 20.299999237060547, 30.700000762939453, 40.5)),
        ("dog", (0.0, 0.0, 100.0, 80.0)),
    ],
    "b": [("dog", (0.3333333432674408, 1.25, 99.66666412353516, 79.0))],
    "c": [],
}


def write_picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path)


def write_xml(path: Path, objects: Sequence[tuple[str, tuple[float, ...]]]) -> None:
    """Write VOC's XML; its boxes count from 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inner = "".join(voc_object(name, (x1 + 1, y1 + 1, x2, y2)) for name, (x1, y1, x2, y2) in objects)
    path.write_text(f"<annotation>{inner}</annotation>")


def coco_tree(names: Sequence[str], objects: Boxes = OBJECTS, first: int = 1) -> dict:
    """Return instances of the pictures NAME.jpg; categories have holes and one is a group that no object has."""
    ids = {"things": 0, "cat": 3, "dog": 90}
    annotations = [
        {"id": i, "image_id": first + n, "category_id": ids[c], "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for n, name in enumerate(names)
        for i, (c, (x1, y1, x2, y2)) in enumerate(objects[name], 100 * n)
    ]
    images = [{"id": first + n, "file_name": f"{x}.jpg", "width": 100, "height": 80} for n, x in enumerate(names)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name, "supercategory": "things"} for name, i in ids.items()],
    }


def write_json(path: Path, tree: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))


def yolo_lines(objects: Sequence[tuple[str, tuple[float, ...]]]) -> str:
    width, height = SIZE
    return "".join(
        f"{['cat', 'dog'].index(name)} {(x1 + x2) / 2 / width!r} {(y1 + y2) / 2 / height!r} "
        f"{(x2 - x1) / width!r} {(y2 - y1) / height!r}\n"
        for name, (x1, y1, x2, y2) in objects
    )


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def installed(root: Path, folder: Path, layout: str = "auto", **values: object) -> tuple[VocDataset, str]:
    """Install a dataset; return it and what is said about it."""
    download = Download.model_validate(values)
    remarks = install_foreign(find_foreign(root, layout), folder, download, Splits())
    return VocDataset(folder), "\n".join(remarks)


def boxes_of(dataset: VocDataset, convention: str = "voc") -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    """Return class and box of every object by the picture's name, of all splits."""
    names = dataset.class_names
    return {
        each.image_id.rpartition("/")[2]: [
            (names[label - 1], tuple(box)) for label, box in zip(each.labels, each.boxes.tolist(), strict=True)
        ]
        for split in dataset.split_names
        for each in dataset.annotations(split, convention)
    }
