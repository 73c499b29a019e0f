"""`frcnn download` of layouts other than VOC's with lists, and `frcnn export`."""

import tarfile
from pathlib import Path

import pytest

from frcnn.data.voc.dataset import VocDataset
from frcnn.sources.synthetic import draw_dataset
from tests.factories import ROOT, Command

PARAMS = ("--params", str(ROOT / "params.yaml"))


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_dataset(tmp_path / "drawn", 6, 2, 4, seed=1)
    return tmp_path / "drawn"


@pytest.mark.parametrize("layout", ["coco", "yolo"])
def test_there_and_back(drawn: Path, frcnn: Command, layout: str) -> None:
    """Exported, packed, installed, checked, and the anchors are those of the original."""
    code, out, _ = frcnn("export", *PARAMS, "--to", layout, "--dataset", "drawn", "--out", "out")
    assert (code, out) == (0, "out: 6 classes; pictures: test 4, train 6, trainval 8, val 2")
    with tarfile.open("set.tar", "w") as tar:
        tar.add("out", "somewhere/out")
    code, out, _ = frcnn("download", *PARAMS, "-S", "download.source=set.tar", "--dataset", "again")
    assert code == 0
    assert out.splitlines()[:2] == [
        f"set.tar: {layout.upper()}, 12 pictures",
        "set.tar: splits: trainval = train and val, test = test",
    ]
    assert frcnn("check", "again", *PARAMS)[0] == 0
    original, again = VocDataset(drawn), VocDataset(Path("again"))
    assert again.class_names == original.class_names
    for one, other in zip(original.annotations("trainval", "voc"), again.annotations("trainval", "voc"), strict=True):
        assert one.image_id == other.image_id
        assert one.boxes.tobytes() == other.boxes.tobytes()
        assert one.labels.tobytes() == other.labels.tobytes()
    for dataset in ("drawn", "again"):
        assert frcnn("anchors", *PARAMS, "--dataset", dataset, "--out", f"{dataset}.h5", "--workers", "0")[0] == 0
    assert Path("drawn.h5").read_bytes() == Path("again.h5").read_bytes()


def test_lists_have_the_names_of_params_yaml(drawn: Path, frcnn: Command) -> None:
    for path in (drawn / "ImageSets/Main").iterdir():
        path.unlink()
    names = ("-S", "splits.train=mine", "-S", "splits.test=others", "-S", "download.split.test=0.25")
    code, out, _ = frcnn("download", *PARAMS, *names, "-S", "download.source=drawn", "--dataset", "new")
    assert code == 0
    assert "3 of 12 pictures drawn for others (download.split: test 0.25, seed 1)" in out
    assert "new: 6 classes; pictures: mine 9, others 3" in out


def test_a_mistake_leaves_the_dataset_as_it_was(drawn: Path, frcnn: Command) -> None:
    frcnn("export", *PARAMS, "--to", "yolo", "--dataset", "drawn", "--out", "out")
    source = ("-S", "download.source=out", "--dataset", "new")
    assert frcnn("download", *PARAMS, *source)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in Path("new").rglob("*")}
    Path("out/labels/train_00002.txt").write_text("9 0.5 0.5 0.1 0.1\n")
    code, _, error = frcnn("download", *PARAMS, *source)
    assert code == 2
    assert error == "error: out/labels/train_00002.txt: line 1: class 9 of 6; classes count from 0, add its name"
    assert {path: path.stat().st_mtime_ns for path in Path("new").rglob("*")} == before


def test_export_replaces_only_its_own(drawn: Path, frcnn: Command) -> None:
    arguments = ("export", *PARAMS, "--to", "coco", "--dataset", "drawn", "--out")
    assert frcnn(*arguments, "out")[0] == frcnn(*arguments, "out")[0] == 0
    code, _, error = frcnn(*arguments, "drawn")
    assert code == 2
    assert "holds files of something else" in error
    code, _, error = frcnn("export", *PARAMS, "--to", "coco", "--dataset", "none", "--out", "new")
    assert code == 2
    assert error.startswith("error: none")
    assert not Path("new").exists()
