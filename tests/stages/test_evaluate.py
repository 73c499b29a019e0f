import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.data.export import export_dataset
from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.detections import Detections, join_detections
from frcnn.detections.hdf5 import read_detections, write_detections
from frcnn.errors import UserError
from frcnn.files import locked
from frcnn.params import load_params
from stages import evaluate
from tests.factories import ROOT

PARAMS = ROOT / "params.yaml"
CLASSES = ["bolt", "wrench", "пакет"]  # no object of the last
OBJECTS = {"a": [("bolt", 10, 10, 50, 50)], "b": [("wrench", 20, 5, 60, 40), ("bolt", 61, 50, 90, 70)], "c": []}
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (root / "ImageSets/Main/test.txt").write_text("a\nb\nc\n")
    (root / "ImageSets/Main/val.txt").write_text("a\n")
    for name, objects in OBJECTS.items():
        Image.new("RGB", (100, 80), "grey").save(root / "JPEGImages" / f"{name}.jpg")
        size = "<size><width>100</width><height>80</height><depth>3</depth></size>"
        body = "".join(OBJECT.format(*each) for each in objects)
        xml = f"<annotation><filename>{name}.jpg</filename>{size}{body}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(xml)
    return root


def write(path: Path, image_ids: str = "abc", split: str = "test", classes: list[str] = CLASSES) -> Path:
    """Write perfect detections, with a wrong one of the wrench above."""
    found = []
    for name in image_ids:
        boxes = [(x1 - 1, y1 - 1, x2, y2) for _, x1, y1, x2, y2 in OBJECTS.get(name, [])]
        labels = [classes.index(label) + 1 for label, *_ in OBJECTS.get(name, [])]
        scores = [0.8] * len(boxes)
        if name == image_ids[0]:
            boxes, scores, labels = [*boxes, (0, 0, 5, 5)], [*scores, 0.9], [*labels, 2]
        found.append(Detections(np.reshape(boxes, (-1, 4)), np.array(scores), np.array(labels)))
    write_detections(path, join_detections(image_ids, classes, found, split))
    return path


def run(dataset: Path, detections: Path, split: str | None = None, *overrides: str) -> Path:
    out = detections.parent / "metrics"
    evaluate.run(dataset, detections, out, detections.parent / "pr.png", split, PARAMS, list(overrides))
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_writes_metrics_and_prints_the_table(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = run(dataset, write(tmp_path / "d.h5"))
    assert json.loads((out / "summary.json").read_text()) == {
        "mAP_voc07": 0.75,
        "mAP_area": 0.75,
        "mAP_reference": 0.75,
        "recall": 1,
        "images": 3,
        "objects": 3,
        "detections": 4,
        "AP_voc07": {"bolt": 1, "wrench": 0.5},
        # From 0.8 on both bolts, the wrench and the mistake: F1 of 1 and 2/3.
        "best_F1": {"score": 0.799999, "F1": 0.833333, "precision": 0.75, "recall": 1},
    }
    bolt, wrench, bag = rows_of(out / "ap_per_class.csv")
    assert (bolt["class"], bolt["objects"], bolt["AP_area"]) == ("bolt", "2", "1.000000")
    assert wrench["detections"] == "2"
    assert (bag["class"], bag["recall"], bag["AP_reference"]) == ("пакет", "", "")
    points = rows_of(out / "pr_curves.csv")
    assert [(p["recall"], p["precision"], p["score"]) for p in points if p["class"] == "wrench"] == [
        ("0.000000", "0.000000", "0.900000"),
        ("1.000000", "0.500000", "0.800000"),
    ]
    scores = {row["score"]: row for row in rows_of(out / "score_curves.csv") if row["class"] == "wrench"}
    assert [scores[score]["F1"] for score in ("0.800000", "0.810000", "0.910000")] == [
        "0.666667",
        "0.000000",
        "0.000000",
    ]
    assert [scores[score]["precision"] for score in ("0.800000", "0.810000", "0.910000")] == [
        "0.500000",
        "0.000000",
        "",
    ]
    assert [(row["truth"], row["detected"]) for row in rows_of(out / "confusion.csv")] == [
        ("bolt", "bolt"),
        ("bolt", "bolt"),
        ("wrench", "wrench"),
        ("(background)", "wrench"),
    ]
    assert Image.open(tmp_path / "pr.png").format == "PNG"
    printed = capsys.readouterr().out
    assert "wrench" in printed
    assert "3 images, 3 objects, 4 detections, mAP 0.750 (11-point), best F1 0.833 at 0.800" in printed


def test_coco_where_it_is_asked_for(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Three objects, bolts of 41 x 41 and 30 x 21, a wrench of 41 x 36, all found, and a wrong wrench of 5 x 5.

    The mistake is small, hence no mistake among the medium ones, and no small wrench can be found.
    """
    out = run(dataset, write(tmp_path / "d.h5"), None, "evaluate.coco=true")
    summary = json.loads((out / "summary.json").read_text())
    assert summary["mAP_voc07"] == 0.75
    assert summary["COCO"] == {
        "AP": 0.75, "AP50": 0.75, "AP75": 0.75, "AP_small": 1, "AP_medium": 1,
        "AR_1": 1, "AR_10": 1, "AR_100": 1, "AR_small": 1, "AR_medium": 1,
    }  # fmt: skip
    assert [row["AP_coco"] for row in rows_of(out / "ap_per_class.csv")] == ["1.000000", "0.500000", ""]
    printed = capsys.readouterr().out
    assert "COCO: AP 0.750, AP50 0.750, AP75 0.750, AP_small 1.000, AP_medium 1.000\n" in printed
    assert "COCO: AR_1 1.000, AR_10 1.000" in printed
    assert "Accumulating" not in printed
    assert "AP_coco" not in (run(dataset, tmp_path / "d.h5") / "ap_per_class.csv").read_text()
    assert "COCO" not in capsys.readouterr().out


def test_coco_without_objects(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (dataset / "ImageSets/Main/test.txt").write_text("c\n")
    out = run(dataset, write(tmp_path / "d.h5", "c"), None, "evaluate.coco=true")
    assert json.loads((out / "summary.json").read_text())["COCO"] == {}
    assert "COCO: no object, no AP\n" in capsys.readouterr().out


def test_coco_results_get_the_same_metrics(dataset: Path, tmp_path: Path) -> None:
    """The same boxes from either file, and HDF5 is converted without the detector."""
    rng = np.random.default_rng(0)
    found = []
    for name in "abc":
        boxes = [(x1 - 1, y1 - 1, x2, y2) for _, x1, y1, x2, y2 in OBJECTS[name] for _ in range(20)]
        boxes = np.reshape(boxes, (-1, 4)) + rng.normal(0, 4, (len(boxes), 4))
        labels = [CLASSES.index(label) + 1 for label, *_ in OBJECTS[name] for _ in range(20)]
        found.append(Detections(boxes, rng.random(len(boxes)), np.array(labels)))
    write_detections(tmp_path / "d.h5", join_detections("abc", CLASSES, found, "test"))
    write_detections(tmp_path / "d.json", read_detections(tmp_path / "d.h5"))
    metrics = []
    for name in ("d.h5", "d.json"):
        out = run(dataset, tmp_path / name, None, "evaluate.coco=true")
        metrics.append([path.read_bytes() for path in [*sorted(out.iterdir()), tmp_path / "pr.png"]])
    assert metrics[0] == metrics[1]
    assert 0.1 < json.loads((out / "summary.json").read_text())["COCO"]["AP"] < 0.9


def test_coco_results_of_another_detector(dataset: Path, tmp_path: Path) -> None:
    entries = [{"image_id": "a", "category_id": 1, "bbox": [9, 9, 41, 41], "score": 0.9}]
    (tmp_path / "others.JSON").write_text(json.dumps(entries))
    summary = json.loads((run(dataset, tmp_path / "others.JSON") / "summary.json").read_text())
    assert (summary["images"], summary["detections"], summary["recall"]) == (3, 1, 0.333333)
    entries[0]["image_id"] = "d"
    (tmp_path / "others.JSON").write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r'others\.JSON: entry 1: image_id "d" is no image of the split'):
        run(dataset, tmp_path / "others.JSON")


def test_coco_results_of_a_detector_trained_on_the_export(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    export_dataset(VocDataset(dataset), tmp_path / "coco", "coco", load_params(PARAMS, []))
    instances = tmp_path / "coco/annotations/instances_test.json"
    keys = ("image_id", "category_id", "bbox")
    objects = json.loads(instances.read_text())["annotations"]
    results, out = tmp_path / "results.json", tmp_path / "metrics"
    results.write_text(json.dumps([{key: each[key] for key in keys} | {"score": 0.5} for each in objects]))
    arguments = dataset, results, out, tmp_path / "pr.png", None, PARAMS, []
    with pytest.raises(UserError, match=r"image_id 1 is no image of the split; .* or name --instances"):
        evaluate.run(*arguments)
    evaluate.run(*arguments, instances)
    assert json.loads((out / "summary.json").read_text())["mAP_area"] == 1
    assert "leave their pictures" not in capsys.readouterr().out
    corners = [each | {"bbox": [50, 40, 90, 70]} for each in json.loads(results.read_text())]
    results.write_text(json.dumps(corners))
    evaluate.run(*arguments, instances)
    assert "results.json: 3 of 3 boxes leave their pictures" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"d\.h5: --instances is for COCO results"):
        evaluate.run(dataset, write(tmp_path / "d.h5"), *arguments[2:], instances)


def test_class_names_that_a_reader_may_take_for_something_else(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (dataset / "classes.txt").write_text("bolt\nwrench\nNA\n")
    out = run(dataset, write(tmp_path / "d.h5", classes=["bolt", "wrench", "NA"]))
    assert [row["class"] for row in rows_of(out / "ap_per_class.csv")] == ["bolt", "wrench", "NA"]
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("NA"))
    assert row == ["NA", "0", "0", "-", "-", "-", "-"]


def test_names_that_no_font_can_write_are_told(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (dataset / "classes.txt").write_text("bolt\nwrench\n\U0010fff0\n", encoding="utf-8")
    run(dataset, write(tmp_path / "d.h5", classes=["bolt", "wrench", "\U0010fff0"]))
    assert "pr.png: no font has the letters: class 3 is" in capsys.readouterr().out


def test_order_of_the_images_does_not_count(dataset: Path, tmp_path: Path) -> None:
    detections = read_detections(write(tmp_path / "d.h5"))
    expected = {path.name: path.read_bytes() for path in run(dataset, tmp_path / "d.h5").iterdir()}
    found = [detections.of_image(i) for i in (2, 1, 0)]
    write_detections(tmp_path / "d.h5", join_detections("cba", CLASSES, found, "test"))
    assert {path.name: path.read_bytes() for path in run(dataset, tmp_path / "d.h5").iterdir()} == expected


def test_same_input_gives_same_bytes(dataset: Path, tmp_path: Path) -> None:
    def contents() -> list[bytes]:
        out = run(dataset, write(tmp_path / "d.h5"))
        return [path.read_bytes() for path in [*sorted(out.iterdir()), tmp_path / "pr.png"]]

    assert contents() == contents()


def test_nothing_detected(dataset: Path, tmp_path: Path) -> None:
    nothing = Detections(np.empty((0, 4)), np.empty(0), np.empty(0))
    write_detections(tmp_path / "d.h5", join_detections("abc", CLASSES, [nothing] * 3, "test"))
    summary = json.loads((run(dataset, tmp_path / "d.h5") / "summary.json").read_text())
    assert (summary["mAP_area"], summary["recall"]) == (0, 0)


def test_no_object_in_the_split(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (dataset / "ImageSets/Main/test.txt").write_text("c\n")
    out = run(dataset, write(tmp_path / "d.h5", "c"))
    assert json.loads((out / "summary.json").read_text()) == {
        "images": 1,
        "objects": 0,
        "detections": 1,
        "AP_voc07": {},
    }


def test_split_of_the_users_choice(dataset: Path, tmp_path: Path) -> None:
    out = run(dataset, write(tmp_path / "d.h5", "a", "val"), split="val")
    assert json.loads((out / "summary.json").read_text())["images"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"split": "val"}, "split 'val', not 'test'"),
        ({"classes": ["wrench", "bolt", "пакет"]}, "classes"),
        ({"image_ids": "ab"}, "no entry for c"),
        ({"image_ids": "abcd"}, "holds d"),
    ],
    ids=str,
)
def test_detections_of_something_else_change_no_file(
    dataset: Path, tmp_path: Path, arguments: dict, words: str
) -> None:
    out = run(dataset, write(tmp_path / "d.h5"))
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match=words) as caught:
        run(dataset, write(tmp_path / "d.h5", **arguments))
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_output_folder_that_cannot_be_written(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("a file, not a folder")
    with pytest.raises(UserError, match="metrics"):
        run(dataset, write(tmp_path / "d.h5"))


def test_a_second_one_waits_for_the_first(dataset: Path, tmp_path: Path) -> None:
    detections = write(tmp_path / "d.h5")
    out = run(dataset, detections)
    (out / "summary.json").unlink()
    with ThreadPoolExecutor() as pool:
        with locked(out / ".evaluate.lock", wait=False) as held:
            assert held
            second = pool.submit(run, dataset, detections)
            with pytest.raises(TimeoutError):
                second.result(timeout=1)
            assert not (out / "summary.json").exists()
        second.result()
    assert (out / "summary.json").exists()
