"""Mistakes in a dataset of another layout: each is one line that names the file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from frcnn.errors import UserError
from tests.frcnn.sources.foreign import OBJECTS, coco_tree, installed, write_json, write_picture, write_text, write_xml
from tests.frcnn.sources.test_foreign_layouts import both, coco_one_file, voc_side_by_side, yolo


def coco(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        coco_one_file(root)
        change(tree := coco_tree(list(OBJECTS)))
        write_json(root / "labels.json", tree)

    return write


def one_picture(root: Path) -> None:
    write_picture(root / "a.jpg")
    write_xml(root / "a.xml", OBJECTS["a"])


def blank_name(root: Path) -> None:
    voc_side_by_side(root)
    write_picture(root / " a.jpg")


BAD = {
    "both": (both, r"set: holds coco \(labels.json\) and voc \(a.xml\); set download.format"),
    "one picture": (one_picture, "1 picture cannot be split"),
    "blank": (blank_name, r"name .* begins or ends with a blank; rename"),
    "no JSON": (lambda root: write_text(root / "x.json", '{"images", "annotations", "categories"'), "x.json: not JSON"),
    "deep": (
        coco(lambda tree: tree.update(images=json.loads("[" * 900 + "]" * 900))),
        r"images: entry 1: .* is no object",
    ),
    "no list": (coco(lambda tree: tree.update(images={})), "labels.json: images is no list"),
    "no id": (coco(lambda tree: tree["images"][0].pop("id")), r"images: entry 1: id is null; write a number or a text"),
    "no name": (coco(lambda tree: tree["images"][0].pop("file_name")), r"images: entry 1 \(id 1\): no file_name"),
    "twice": (coco(lambda tree: tree["images"][1].update(id=1)), r"images: entry 2 \(id 1\): its id occurs twice"),
    "category": (
        coco(lambda tree: tree["annotations"][0].update(category_id=7)),
        r"annotations: entry 1 \(id 0\): category_id 7 is not among the categories",
    ),
    "box": (coco(lambda tree: tree["annotations"][0].update(bbox=[1, 2, 3])), r"bbox is \[1, 2, 3\]; write \[x, y"),
    "infinite": (coco(lambda tree: tree["annotations"][0].update(bbox=[1, 2, 3, float("inf")])), "in finite numbers"),
    "no box": (coco(lambda tree: tree["annotations"][0].pop("bbox")), "neither bbox nor segmentation"),
    "polygon": (coco(lambda tree: tree["annotations"][0].update(bbox=[], segmentation=[[1, 2, 3]])), "x and y of each"),
    "runs": (
        coco(lambda tree: tree["annotations"][0].update(bbox=[], segmentation={"size": [4, 5], "counts": "9P"})),
        "is no RLE",
    ),
    "sum of runs": (
        coco(lambda tree: tree["annotations"][0].update(bbox=[], segmentation={"size": [4, 5], "counts": [9, 2]})),
        "is no RLE",
    ),
    "class name": (coco(lambda tree: tree["categories"][1].update(name="a\x1bb")), "has control characters; rename"),
    "pictures": (coco(lambda tree: [i.update(file_name="/etc/x.jpg") for i in tree["images"]]), "none of its pictures"),
    "tag": (yolo("data.yaml", "names: [cat]\nx: !!python/object:os.x {}\n"), "data.yaml: line 2: not valid YAML"),
    "flag": (yolo("data.yaml", "names: [cat, yes]\ntrain: images\n"), "class name true is no text; put .* in quotes"),
    "no mapping": (yolo("data.yaml", "'\nnames: x'\n"), "data.yaml: no mapping; write train, val and names"),
    "long number": (yolo("data.yaml", "names: {1: cat, '123456': dog}\n"), "names is .*; write the class names"),
    "no names": (yolo("data.yaml", "names: 3\n"), "names is 3; write the class names"),
    "outside": (yolo("data.yaml", "names: [cat, dog]\ntrain: ../../../etc\n"), r"data.yaml: no picture in .*etc"),
    "two": (yolo("b.yaml", "names: [dog]\n"), "b.yaml and data.yaml name classes; keep one"),
    "class": (yolo("labels/a.txt", "0 .5 .5 1 1\n2 .5 .5 1 1\n"), r"a.txt: line 2: class 2 of 2"),
    "text": (yolo("labels/a.txt", "cat 0.5 0.5 1 1\n"), r"a.txt: line 1: .* is not numbers; write class, cx"),
    "pixels": (yolo("labels/a.txt", "0 50 40 10 10\n"), r"holds no shares; divide x by the picture's width"),
    "nan": (yolo("labels/a.txt", "0 nan 0.5 1 1\n"), "holds no shares"),
    "score": (yolo("labels/a.txt", "0 0.5 0.5 1 1 0.9\n"), "is no label; write class, cx"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(tmp_path: Path, case: str) -> None:
    write, words = BAD[case]
    write(tmp_path / "set")
    with pytest.raises(UserError, match=words) as caught:
        installed(tmp_path / "set", tmp_path / "dataset")
    assert str(caught.value).startswith(str(tmp_path / "set"))
    assert len(caught.value.args) == 1
