"""One dataset in every layout, from a folder to average precision."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from frcnn.sources.synthetic import draw_dataset
from tests.factories import Command

SMALL = (
    "--params", "demo", "-S", "model.width=16", "-S", "data.min_size=64", "-S", "data.max_size=96",
    "-S", "anchors.anchor_sizes=[16, 32, 64]", "-S", "train_phase1.epochs=1", "-S", "train_phase2.epochs=1",
    "-S", "download.split.test=0.25",
)  # fmt: skip
Layout = Callable[[Path, Path, Command], None]


def voc(drawn: Path, source: Path, frcnn: Command) -> None:
    drawn.rename(source)


def voc_without_lists(drawn: Path, source: Path, frcnn: Command) -> None:
    for path in (drawn / "ImageSets" / "Main").iterdir():
        path.unlink()
    drawn.rename(source)


def flat(drawn: Path, source: Path, frcnn: Command) -> None:
    """LabelImg's."""
    source.mkdir()
    for path in (*(drawn / "JPEGImages").iterdir(), *(drawn / "Annotations").iterdir()):
        path.rename(source / path.name)


def roboflow_voc(drawn: Path, source: Path, frcnn: Command) -> None:
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        (source / folder).mkdir(parents=True)
        for image_id in (drawn / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
            name = f"{image_id}_jpg.rf.0123456789abcdef"
            (drawn / "JPEGImages" / f"{image_id}.jpg").rename(source / folder / f"{name}.jpg")
            (drawn / "Annotations" / f"{image_id}.xml").rename(source / folder / f"{name}.xml")
    (source / "README.roboflow.txt").write_text("Provided by a Roboflow user")


def coco(drawn: Path, source: Path, frcnn: Command) -> None:
    assert frcnn("export", "--to", "coco", "--params", "demo", "--dataset", str(drawn), "--out", str(source))[0] == 0


def roboflow_coco(drawn: Path, source: Path, frcnn: Command) -> None:
    coco(drawn, source, frcnn)
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        tree = json.loads((source / "annotations" / f"instances_{split}.json").read_text())
        (source / folder).mkdir()
        for image in tree["images"]:
            (source / "images" / image["file_name"]).rename(source / folder / image["file_name"])
        tree["categories"].insert(0, {"id": 0, "name": "shapes", "supercategory": "none"})
        (source / folder / "_annotations.coco.json").write_text(json.dumps(tree))
    for path in (source / "annotations").iterdir():
        path.unlink()


def yolo(drawn: Path, source: Path, frcnn: Command) -> None:
    assert frcnn("export", "--to", "yolo", "--params", "demo", "--dataset", str(drawn), "--out", str(source))[0] == 0


def roboflow_yolo(drawn: Path, source: Path, frcnn: Command) -> None:
    yolo(drawn, source, frcnn)
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
            (source / folder / kind).mkdir(parents=True)
            for image_id in (drawn / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
                (source / kind / f"{image_id}{suffix}").rename(source / folder / kind / f"{image_id}{suffix}")
        (source / f"{split}.txt").unlink()
    (source / "trainval.txt").unlink()
    names = (drawn / "classes.txt").read_text().split()
    (source / "data.yaml").write_text(
        f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: {len(names)}\nnames: {names}\n"
    )


LAYOUTS = [voc, voc_without_lists, flat, roboflow_voc, coco, roboflow_coco, yolo, roboflow_yolo]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_from_a_folder_to_average_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frcnn: Command, layout: Layout
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_dataset(tmp_path / "drawn", 5, 3, 4, seed=3)
    layout(tmp_path / "drawn", tmp_path / "meine Bilder ü", frcnn)
    source = ("-S", "download.source=meine Bilder ü")
    for command in (
        ("download", *source), ("check",), ("anchors",), ("train", "--phase", "1"), ("train", "--phase", "2"),
        ("detect",), ("evaluate",),
    ):  # fmt: skip
        code, out, error = frcnn(*command, *SMALL)
        assert code == 0, (command, out, error)
    summary = json.loads(Path("metrics/summary.json").read_text())
    assert summary["images"] == 4 or (layout in (voc_without_lists, flat) and 0 < summary["images"] < 8)
    assert set(summary["AP_voc07"]) <= {"circle", "cross", "rectangle", "ring", "star", "triangle"}
