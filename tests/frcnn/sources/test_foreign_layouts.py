"""One small dataset in every layout: the same boxes, to the last bit, and the splits that the layout names."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.errors import UserError
from frcnn.sources.shapes import draw_picture
from tests.factories import troubles
from tests.frcnn.sources.foreign import (
    OBJECTS,
    boxes_of,
    coco_tree,
    installed,
    write_json,
    write_picture,
    write_text,
    write_xml,
    yolo_lines,
)

FOLDERS = {"train": "a", "valid": "b", "test": "c"}
DRAWN: dict[str, list[str]] = {}


def voc_folders(root: Path) -> None:
    for name, objects in OBJECTS.items():
        write_picture(root / "JPEGImages" / f"{name}.JPG")
        write_picture(root / "SegmentationClass" / f"{name}.png")  # no pictures of the dataset
        if objects:
            write_xml(root / "Annotations" / f"{name}.xml", objects)


def voc_side_by_side(root: Path) -> None:
    for name, objects in OBJECTS.items():
        write_picture(root / f"{name}.jpg")
        if objects:
            write_xml(root / f"{name}.xml", objects)
    write_xml(root / "orphan.xml", [])
    write_picture(root / ".hidden" / "x.jpg")


def voc_annotations_elsewhere(root: Path) -> None:
    for name, objects in OBJECTS.items():
        write_picture(root / "photos" / f"{name}.jpg")
        write_xml(root / "xmls" / "all" / f"{name}.xml", objects)


def voc_roboflow(root: Path) -> None:
    for folder, name in FOLDERS.items():
        write_picture(root / folder / f"{name}.jpg")
        write_xml(root / folder / f"{name}.xml", OBJECTS[name])


def voc_same_names(root: Path) -> None:
    for folder, name in FOLDERS.items():
        write_picture(root / folder / "images" / f"{name}.jpg")
        write_picture(root / folder / "images" / "same" / "1.png")
        write_xml(root / folder / "annotations" / f"{name}.xml", OBJECTS[name])


def coco_one_file(root: Path) -> None:
    for name in OBJECTS:
        write_picture(root / f"{name}.jpg")
    write_json(root / "labels.json", coco_tree(list(OBJECTS)))
    write_json(root / "settings.json", [1, 2])


def coco_roboflow(root: Path) -> None:
    for first, (folder, name) in enumerate(FOLDERS.items()):
        write_picture(root / folder / f"{name}.jpg")
        write_json(root / folder / "_annotations.coco.json", coco_tree([name], first=first))


def coco_2017(root: Path) -> None:
    for split, names in (("train", ["a", "c"]), ("val", ["b"])):
        for name in names:
            write_picture(root / f"{split}2017" / f"{name}.jpg")
        write_json(root / "annotations" / f"instances_{split}2017.json", coco_tree(names))
        write_json(root / "annotations" / f"person_keypoints_{split}2017.json", coco_tree([]))


def coco_text_ids(root: Path) -> None:
    tree = coco_tree(list(OBJECTS))
    for each in (*tree["images"], *tree["annotations"]):
        key = "file_name" if "file_name" in each else "image_id"
        each["id" if key == "file_name" else key] = f"x{each['id' if key == 'file_name' else key]}"
    for image in tree["images"]:
        image["file_name"] = f"..\\..\\export/images\\{image['file_name']}"
        write_picture(root / "images" / image["file_name"].rpartition("\\")[2])
    write_json(root / "result.json", tree)


def yolo_roboflow(root: Path) -> None:
    yolo_pairs(root, "{}/images", "{}/labels")
    write_text(root / "data.yaml", "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
                                   "names: ['cat', 'dog']\n")  # fmt: skip


def yolo_ultralytics(root: Path) -> None:
    yolo_pairs(root, "images/{}", "labels/{}")
    write_text(root / "mine.yaml", "path: ../datasets/mine  #\ntrain: [images/train]\nval: images/valid\ntest: # no\n"
                                   "names:\n  0: cat\n  1: dog\ndownload: |\n  import os\n  os.x()\n")  # fmt: skip


def yolo_lists(root: Path) -> None:
    yolo_pairs(root, "images", "labels")
    write_text(root / "train.txt", "./images/a.jpg\n/content/mine/images/c.jpg\nimages/none.jpg\n")
    write_text(root / "val.txt", "images/b.jpg\n")
    write_text(root / "data.yaml", "train: train.txt\nval: val.txt\nnames: {0: cat, 1: dog}\n")


def yolo_classes_txt(root: Path) -> None:
    yolo_pairs(root, "", "")
    write_text(root / "classes.txt", "cat\ndog\n")
    write_text(root / "orphan.txt", "0 0.5 0.5 1 1\n")


def yolo_pairs(root: Path, images: str, labels: str) -> None:
    for folder, name in FOLDERS.items():
        write_picture(root / images.format(folder) / f"{name}.jpg")
        if OBJECTS[name]:
            write_text(root / labels.format(folder) / f"{name}.txt", yolo_lines(OBJECTS[name]))


ALL_THREE = {"trainval": ["a", "b"], "test": ["c"], "train": ["a"], "val": ["b"]}
TWO = {"trainval": ["a", "c"], "test": ["b"], "train": ["a", "c"], "val": ["b"]}
CASES = {
    voc_folders: (DRAWN, ["VOC", "without an annotation, taken to show no object: 1"]),
    voc_side_by_side: (DRAWN, ["without an annotation, taken to show no object: 1", "without a picture, left out: 1"]),
    voc_annotations_elsewhere: (DRAWN, ["splits: none found"]),
    voc_roboflow: (ALL_THREE, ["splits: trainval = train and val, test = test"]),
    coco_one_file: (DRAWN, ["COCO", "classes without an object, left out: 1", "taken to show no object: 1"]),
    coco_roboflow: (ALL_THREE, ["classes without an object, left out: 1"]),
    coco_2017: (TWO, ["splits: trainval = train, test = val"]),
    coco_text_ids: (DRAWN, []),
    yolo_roboflow: (ALL_THREE, ["YOLO", "without a label file, taken to show no object: 1"]),
    yolo_ultralytics: (
        {"trainval": ["a"], "test": ["b"], "train": ["a"], "val": ["b"]},
        ["does not name, left out: 1"],
    ),
    yolo_lists: (TWO, ["listed pictures that are not there, left out: 1"]),
    yolo_classes_txt: (DRAWN, ["label files without a picture, left out: 1"]),
}


@pytest.mark.parametrize("write", CASES, ids=lambda write: write.__name__)
def test_every_layout_gives_the_same_boxes(tmp_path: Path, write: Callable[[Path], None]) -> None:
    splits, words = CASES[write]
    write(tmp_path / "my-test" / "set")
    dataset, said = installed(tmp_path / "my-test", tmp_path / "dataset", missing="drop")
    assert all(word in said or word in ("VOC", "COCO", "YOLO") for word in words), said
    if splits:
        assert {split: dataset.split(split) for split in dataset.split_names} == splits
    else:
        assert dataset.split_names == ["test", "trainval"]
        assert sorted(dataset.split("trainval") + dataset.split("test")) == ["a", "b", "c"]
    assert dataset.class_names == ["cat", "dog"]
    expected = {name: OBJECTS[name] for name in boxes_of(dataset)}
    assert set(expected) >= {"a", "b"}
    assert boxes_of(dataset) == expected
    assert troubles(dataset.root) == []


@pytest.mark.parametrize("write", [coco_one_file, yolo_lists], ids=lambda write: write.__name__)
def test_converted_boxes_do_not_depend_on_the_convention(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "set")
    dataset, _ = installed(tmp_path / "set", tmp_path / "dataset", missing="drop")
    assert boxes_of(dataset, "continuous") == boxes_of(dataset, "voc") == OBJECTS
    (name, box), _ = boxes_of(dataset, "reference")["a"]  # indices of pixels: the last is one less
    assert (name, box[:2], box[3]) == ("cat", OBJECTS["a"][0][1][:2], 39.5)


def coco_without_pictures(root: Path) -> None:
    coco_one_file(root)
    write_json(root / "labels.json", tree := coco_tree(list(OBJECTS)))
    tree["images"] += [{"id": f"x{number}", "file_name": f"x/{number}.jpg"} for number in range(5)]
    write_json(root / "labels.json", tree)


@pytest.mark.parametrize(
    ("write", "places"),
    [
        (coco_without_pictures, '5 listed images have no picture: labels.json: id "x0" (x/0.jpg), labels.json: id "x1" '
         '(x/1.jpg), labels.json: id "x2" (x/2.jpg), and 2 more'),
        (yolo_lists, "1 listed image has no picture: train.txt: line 3 (images/none.jpg)"),
    ],
)  # fmt: skip
def test_listed_pictures_that_are_missing_are_refused(
    tmp_path: Path, write: Callable[[Path], None], places: str
) -> None:
    write(tmp_path / "set")
    with pytest.raises(UserError) as caught:
        installed(tmp_path / "set", tmp_path / "dataset")
    assert str(caught.value) == (
        f"{tmp_path / 'set'}: {places}; add them, or leave them out with download.missing: drop"
    )


@pytest.mark.parametrize("write", [voc_side_by_side, voc_roboflow, coco_2017, yolo_ultralytics, yolo_classes_txt])
def test_a_dataset_of_links(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """Links to folders and files give what the dataset itself gives, each picture once; none is installed as a link."""
    write(tmp_path / "set")
    (tmp_path / "links").mkdir()
    for path in (tmp_path / "set").iterdir():
        (tmp_path / "links" / path.name).symlink_to(path)
    (tmp_path / "links" / "here").symlink_to(".")
    dataset, said = installed(tmp_path / "links", tmp_path / "dataset")
    expected, as_said = installed(tmp_path / "set", tmp_path / "expected")
    assert said == as_said
    assert {split: dataset.split(split) for split in dataset.split_names} == {
        split: expected.split(split) for split in expected.split_names
    }
    assert boxes_of(dataset) == boxes_of(expected)
    assert not any(path.is_symlink() for path in dataset.root.rglob("*"))


@pytest.mark.parametrize("write", [coco_roboflow, yolo_roboflow, yolo_classes_txt])
def test_extensions_in_capitals(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "set")
    for path in [path for path in (tmp_path / "set").rglob("*.*") if path.name != "classes.txt"]:
        path.rename(path.with_suffix(path.suffix.upper()))
    for path in (tmp_path / "set").rglob("*.JSON"):
        path.write_text(path.read_text().replace(".jpg", ".JPG"))
    assert boxes_of(installed(tmp_path / "set", tmp_path / "dataset")[0]) == OBJECTS


def test_capitals_and_hidden_files(tmp_path: Path) -> None:
    voc_side_by_side(tmp_path / "set")
    for path in list((tmp_path / "set").glob("*.xml")):
        write_text(path.with_name(f"._{path.name}"), "companion")
        path.rename(path.with_suffix(".XML"))
    write_picture(tmp_path / "set" / "__MACOSX" / "a.jpg")
    write_picture(tmp_path / "set" / "._a.jpg")
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset")
    assert boxes_of(dataset) == OBJECTS
    assert "annotations without a picture, left out: 1" in said


def test_all_bad_names_are_told_at_once(tmp_path: Path) -> None:
    voc_side_by_side(tmp_path / "set")
    for name in ("x ", "y\t1"):
        write_picture(tmp_path / "set" / f"{name}.jpg")
    with pytest.raises(UserError) as caught:
        installed(tmp_path / "set", tmp_path / "dataset")
    assert ["ends with a blank" in caught.value.args[0], "control" in caught.value.args[1]] == [True, True]


def test_pictures_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    voc_same_names(tmp_path / "set")
    dataset, _ = installed(tmp_path / "set", tmp_path / "dataset")
    assert dataset.split("test") == ["test/images/c", "test/images/same/1"]
    assert boxes_of(dataset) == {**OBJECTS, "1": []}


def test_segmentations_and_crowds(tmp_path: Path) -> None:
    """Boxes of polygons and runs of both kinds; the runs of columns 2 and 3, rows 1 and 2, of a picture of 4 x 5."""
    runs = [9, 2, 2, 2, 5]
    shapes = [
        [[1, 2, 8, 2.5, 4, 9], [0.5, 3, 1, 3, 1, 4]],
        {"size": [4, 5], "counts": runs},
        {"size": [4, 5], "counts": "92203"},
    ]
    tree = coco_tree(["a"], {"a": [("cat", (0, 0, 1, 1))] * 5})
    for each, shape in zip(tree["annotations"], shapes, strict=False):
        del each["bbox"]
        each |= {"segmentation": shape, "iscrowd": int(isinstance(shape, dict))}
    tree["annotations"][3]["bbox"] = [5, 5, 0, 3]
    tree["annotations"][4]["image_id"] = "gone"
    write_picture(tmp_path / "set" / "a.jpg")
    write_picture(tmp_path / "set" / "b.jpg")
    tree["images"] += [{"id": "b", "file_name": "b.jpg"}, {"id": "n", "file_name": "none.jpg"}]
    write_json(tmp_path / "set" / "x.json", tree)
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset", missing="drop")
    assert boxes_of(dataset)["a"] == [("cat", (0.5, 2, 8, 9)), ("cat", (2, 1, 4, 3)), ("cat", (2, 1, 4, 3))]
    (split,) = [split for split in dataset.split_names if "a" in dataset.split(split)]
    assert dataset.annotations(split, "voc")[0].difficult.tolist() == [False, True, True]
    for what in ("boxes without extent", "annotations without a picture", "listed pictures that are not there"):
        assert f"{what}, left out: 1" in said


def test_polygons_of_yolo(tmp_path: Path) -> None:
    yolo_classes_txt(tmp_path / "set")
    write_text(tmp_path / "set" / "a.txt", "1 0.25 0.5 0.75 0.5 0.5 1\n\n0.0 0.5 0.5 0 1\n")
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset")
    assert boxes_of(dataset)["a"] == [("dog", (25, 40, 75, 80))]
    assert "boxes without extent, left out: 1" in said


def yolo(file: str, text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        yolo_lists(root)
        write_text(root / file, text)

    return write


def both(root: Path) -> None:
    coco_one_file(root)
    voc_side_by_side(root)


def test_a_picture_in_train_and_test_is_not_trained_on(tmp_path: Path) -> None:
    yolo("data.yaml", "train: images\nval: val.txt\nnames: [cat, dog]\n")(tmp_path / "set")
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset")
    assert (dataset.split("trainval"), dataset.split("test")) == (["a", "c"], ["b"])
    assert "pictures of train that are in val, too, and not in trainval: 1" in said


def test_train_and_val_of_the_same_pictures_are_split_anew(tmp_path: Path) -> None:
    yolo("data.yaml", "train: images\nval: images\nnames: [cat, dog]\n")(tmp_path / "set")
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset", split={"test": 0.4, "seed": 3})
    assert len(dataset.split("trainval")) + len(dataset.split("test")) == 3
    assert "splits: none found" in said
    assert "test 0.4, seed 3" in said


def test_the_layout_may_be_named(tmp_path: Path) -> None:
    both(tmp_path / "set")
    for layout in ("voc", "coco"):
        dataset, _ = installed(tmp_path / "set", tmp_path / layout, layout)
        assert boxes_of(dataset) == OBJECTS


def test_look_alikes_stay_on_one_side(tmp_path: Path) -> None:
    """Twelve pictures, each also at twice the size under another name; one that is no picture is on either side."""
    names = "abcdefghijkl"
    for i, name in enumerate(names):
        picture = Image.fromarray(draw_picture(np.random.default_rng(i))[0])
        for copy, scale in ((f"{name}{name}", 1), (f"{name}-", 2)):
            write_xml(tmp_path / "set" / f"{copy}.xml", OBJECTS["a"])
            picture.resize((picture.width * scale, picture.height * scale)).save(tmp_path / "set" / f"{copy}.png")
    (tmp_path / "set/none.png").write_bytes(b"")
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset", split={"test": 0.3, "seed": 2})
    test = {image_id for image_id in dataset.split("test") if image_id != "none"}
    assert len(test) >= 6
    assert all((f"{name}-" in test) == (f"{name}{name}" in test) for name in names)
    assert "groups of pictures kept on one side: 12 (by name 0, by looks 12)" in said


def test_where_all_pictures_look_alike_they_are_split_still(tmp_path: Path) -> None:
    for name in "abc":
        write_picture(tmp_path / "set" / f"{name}.jpg")
        write_xml(tmp_path / "set" / f"{name}.xml", OBJECTS["a"])
    dataset, said = installed(tmp_path / "set", tmp_path / "dataset")
    assert (len(dataset.split("trainval")), len(dataset.split("test"))) == (2, 1)
    assert "all pictures look alike, one like the next, so looks do not count" in said
