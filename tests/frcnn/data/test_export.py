import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from frcnn.data.export import export_dataset
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Params
from frcnn.sources.synthetic import draw_dataset
from tests.factories import change, voc_object, write_list, write_voc
from tests.frcnn.sources.foreign import boxes_of, installed, write_picture


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_random_boxes_come_back_to_the_last_bit(tmp_path: Path, layout: str) -> None:
    """Float32 boxes at every scale, written so that the convention voc reads them; also from ids with folders."""
    rng = np.random.default_rng(1)
    pictures = {}
    for number in range(20):
        low, high = np.sort(rng.uniform(0, [100, 80], (2, 9, 2)).astype(np.float32), axis=0)
        boxes = np.concatenate([low, high], 1).astype(np.float64) + [1, 1, 0, 0]
        pictures[f"day/{number}" if number % 2 else f"x{number}"] = "".join(
            voc_object("dog", [repr(value) for value in box]) for box in boxes.tolist()
        )
    (tmp_path / "voc/Annotations/day").mkdir(parents=True)
    (tmp_path / "voc/JPEGImages/day").mkdir(parents=True)
    (tmp_path / "voc/ImageSets/Main").mkdir(parents=True)
    for name, objects in pictures.items():
        (tmp_path / f"voc/Annotations/{name}.xml").write_text(f"<annotation>{objects}</annotation>")
        write_picture(tmp_path / f"voc/JPEGImages/{name}.jpg")
    write_list(tmp_path / "voc", "\n".join(list(pictures)[:15]), "trainval")
    write_list(tmp_path / "voc", "\n".join(list(pictures)[15:]), "test")
    (tmp_path / "voc/classes.txt").write_text("dog\n")
    original = VocDataset(tmp_path / "voc")
    export_dataset(original, tmp_path / "out", layout, Params())
    again, _ = installed(tmp_path / "out", tmp_path / "again")
    assert boxes_of(again) == boxes_of(original)
    assert [len(again.split(split)) for split in ("trainval", "test")] == [15, 5]


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_splits_come_back(tmp_path: Path, layout: str) -> None:
    draw_dataset(tmp_path / "drawn", 5, 3, 2, seed=1)
    original = VocDataset(tmp_path / "drawn")
    export_dataset(original, tmp_path / "out", layout, Params())
    again, _ = installed(tmp_path / "out", tmp_path / "again")
    for split in ("train", "val", "trainval", "test"):
        assert set(again.split(split)) >= set(original.split(split))
    assert sorted(again.split("trainval")) == sorted(original.split("trainval"))
    assert boxes_of(again) == boxes_of(original)


def test_coco_is_read_by_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    objects = voc_object("cat", (11, 21, 40, 60)) + voc_object("dog", extra="<difficult>1</difficult>")
    dataset = VocDataset(write_voc(tmp_path / "voc", {"a": objects, "b": ""}))
    assert export_dataset(dataset, tmp_path / "out", "coco", Params()) == {"difficult objects, written as crowds": 1}
    coco = COCO(tmp_path / "out/annotations/instances_trainval.json")
    assert [each["bbox"] for each in coco.loadAnns(coco.getAnnIds(catIds=[1]))] == [[10, 20, 30, 40]]
    assert [each["iscrowd"] for each in coco.loadAnns(coco.getAnnIds(catIds=[2]))] == [1]
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.jpg", "b.jpg"]
    assert [
        each["area"]
        for each in json.loads(Path(tmp_path / "out/annotations/instances_trainval.json").read_text())["annotations"]
    ] == [1200] * 2


def test_yolo_as_others_read_it(tmp_path: Path) -> None:
    objects = voc_object("dog", (11, 21, 40, 60)) + voc_object("cat", extra="<difficult>1</difficult>")
    dataset = VocDataset(write_voc(tmp_path / "voc", {"a": objects, "b": ""}))
    write_list(dataset.root, "b\n", "test")
    assert export_dataset(dataset, tmp_path / "out", "yolo", Params()) == {"difficult objects, left out": 1}
    assert (tmp_path / "out/labels/a.txt").read_text() == "1 0.25 0.5 0.3 0.5\n"
    assert (tmp_path / "out/labels/b.txt").read_text() == ""
    assert (tmp_path / "out/trainval.txt").read_text() == "./images/a.jpg\n./images/b.jpg\n"
    tree = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert tree == {"train": "trainval.txt", "val": "test.txt", "names": {0: "cat", 1: "dog"}}


@pytest.mark.parametrize("convention", ["voc", "reference"])
def test_pixel_indices_are_exported_as_continuous_boxes(tmp_path: Path, convention: str) -> None:
    dataset = VocDataset(write_voc(tmp_path / "voc", {"a": voc_object("dog", (11, 21, 40, 60))}))
    export_dataset(dataset, tmp_path / "out", "yolo", change(Params(), {"data.box_convention": convention}))
    assert (tmp_path / "out/labels/a.txt").read_text() == "1 0.25 0.5 0.3 0.5\n"


@pytest.mark.parametrize(
    ("names", "numbers"),
    [(["000012", "000007"], [12, 7]), (["12", "012"], [1, 2]), (["12", "a"], [1, 2])],
    ids=["numbers", "equal numbers", "a name"],
)
def test_ids_are_the_numbers_of_the_names(tmp_path: Path, names: list[str], numbers: list[int]) -> None:
    """So that results of a detector that is trained on the export come back without it."""
    dataset = VocDataset(write_voc(tmp_path / "voc", dict.fromkeys(names, voc_object())))
    export_dataset(dataset, tmp_path / "out", "coco", Params())
    tree = json.loads((tmp_path / "out/annotations/instances_trainval.json").read_text())
    assert [image["id"] for image in tree["images"]] == [each["image_id"] for each in tree["annotations"]] == numbers
