import hashlib
import re
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from frcnn.data.voc.dataset import VOC_CLASSES, VocDataset
from frcnn.data.voc.problems import MARKER
from frcnn.errors import UserError
from frcnn.fetching.published import VOC, Published
from frcnn.sources import source as source_module
from frcnn.sources.synthetic import draw_dataset
from stages import download
from tests.factories import ROOT, FolderHandler, serve

PARAMS = ROOT / "params.yaml"


def run(dataset: Path, source: object, *overrides: str) -> None:
    download.run(PARAMS, [f"download.source={source}", *overrides], dataset, workers=1)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pack(folder: Path, archive: Path, inside: str, splits: set[str], classes: tuple[str, str] = ("", "")) -> Path:
    """Write a tar of a drawn dataset in which only some splits are left, as PASCAL's archives do."""
    for path in (folder / "ImageSets/Main").iterdir():
        if path.stem not in splits:
            path.unlink()
    for path in (folder / "Annotations").iterdir():
        path.write_text(path.read_text().replace(*classes))
        if not any(path.stem.startswith(split) for split in splits):
            path.unlink()
            (folder / "JPEGImages" / f"{path.stem}.jpg").unlink()
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, inside)
    return archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    draw_dataset(tmp_path / "drawn", 6, 4, 2, seed=1)
    return pack(tmp_path / "drawn", tmp_path / "my set.tar", "VOCdevkit/Mine", {"train", "test"})


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve the folder "served"."""
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "served").mkdir()
    with serve(partial(FolderHandler, directory=tmp_path / "served")) as address:
        yield address


def test_synthetic(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sizes = [f"download.synthetic.{split}_images={n}" for split, n in (("train", 3), ("val", 2), ("test", 1))]
    run(tmp_path / "data/dataset", "synthetic", *sizes)
    assert len(VocDataset(tmp_path / "data/dataset").annotations("trainval", "voc")) == 5
    assert "6 classes; pictures: test 1, train 3, trainval 5, val 2" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [".dataset.lock", "dataset"]


def test_a_local_archive(tmp_path: Path, archive: Path) -> None:
    run(tmp_path / "dataset", archive, "download.classes=[star, ring, cross, circle, triangle, rectangle]")
    assert VocDataset(tmp_path / "dataset").class_names[:2] == ["star", "ring"]
    assert len(VocDataset(tmp_path / "dataset").annotations("train", "voc")) == 6
    run(tmp_path / "dataset", archive)  # again, over the former
    assert VocDataset(tmp_path / "dataset").class_names == sorted(VocDataset(tmp_path / "dataset").class_names)


def test_listed_files_that_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The message has the place in the source, not in the copy; `drop` installs the rest and says how many are out."""
    draw_dataset(tmp_path / "drawn", 3, 2, 2, seed=1)
    archive = pack(tmp_path / "drawn", tmp_path / "a.tar", "Mine", {"train", "trainval", "test"})
    with pytest.raises(UserError) as caught:
        run(tmp_path / "dataset", archive)
    assert str(caught.value).startswith(
        "a.tar/Mine/ImageSets/Main: 2 listed images have neither picture nor annotation: trainval.txt line 4 (val_0000"
    )
    assert not (tmp_path / "dataset").exists()
    run(tmp_path / "dataset", archive, "download.missing=drop")
    assert f"{archive}: listed ids without picture or annotation, left out: 2\n" in capsys.readouterr().out
    assert VocDataset(tmp_path / "dataset").split("trainval") == ["train_00001", "train_00002", "train_00003"]


def test_an_archive_of_macos(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "drawn", 2, 1, 1, seed=1)
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as file:
        for path in (tmp_path / "drawn").rglob("*.*"):
            name = path.relative_to(tmp_path)
            file.write(path, name)
            file.writestr(f"__MACOSX/{name.parent}/._{name.name}", b"\0\5\x16\7\0\2")
        file.writestr("drawn/JPEGImages/.DS_Store", b"\0")
    run(tmp_path / "dataset", tmp_path / "mac.zip")
    assert len(VocDataset(tmp_path / "dataset").annotations("trainval", "voc")) == 3


def test_a_folder_relative_to_the_working_directory(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("data/dataset"), "drawn")
    assert len(VocDataset(tmp_path / "data/dataset").split("train")) == 6


def test_an_address(tmp_path: Path, archive: Path, mirror: str, capsys: pytest.CaptureFixture) -> None:
    archive.rename(tmp_path / "served" / archive.name)
    run(tmp_path / "dataset", f"{mirror}/my%20set.tar")
    digest = sha256(tmp_path / "served" / archive.name)
    assert f"set.tar: not verified; put its SHA-256 {digest}" in capsys.readouterr().out
    run(tmp_path / "dataset", f"{mirror}/my%20set.tar")  # whether or not it has been corrected there
    words = r"set\.tar: the copy of \d{4}-\d\d-\d\d \d\d:\d\d is used, remove it to fetch it again; not verified; "
    assert re.search(words, capsys.readouterr().out)
    run(tmp_path / "dataset", f"{mirror}/my%20set.tar", f"download.sha256={{my set.tar: {digest}}}")
    assert "not verified" not in capsys.readouterr().out
    with pytest.raises(UserError, match="wrong checksum"):
        run(tmp_path / "dataset", f"{mirror}/my%20set.tar", "download.sha256={my set.tar: abcd}")


def test_voc2007_and_2012_from_a_mirror(tmp_path: Path, mirror: str) -> None:
    digests = []
    contents = [
        ("VOC2007", {"train", "val", "trainval"}),
        ("VOC2007", {"test"}),
        ("VOC2012", {"train", "val", "trainval"}),
    ]
    for seed, (published, (inside, splits)) in enumerate(
        zip([*VOC["voc2007"], *VOC["voc2012"]], contents, strict=True)
    ):
        drawn = tmp_path / f"drawn{seed}"
        draw_dataset(drawn, 2, 2, 3, seed)
        path = pack(drawn, tmp_path / "served" / published.name, f"VOCdevkit/{inside}", splits, ("none", "none"))
        digests.append(f"{path.name}: {sha256(path)}")
    overrides = [f"download.mirror={mirror}/", f"download.sha256={{{', '.join(digests)}}}"]
    run(tmp_path / "dataset", "voc2007", *overrides)
    assert len(VocDataset(tmp_path / "dataset").split("trainval")) == 4
    assert len(VocDataset(tmp_path / "dataset").split("test")) == 3
    with pytest.raises(UserError, match="is also in"):  # drawn pictures have the same names in both years
        run(tmp_path / "dataset", "voc2007+voc2012", *overrides)
    assert len(VocDataset(tmp_path / "dataset").split("test")) == 3


def test_voc_keeps_its_classes(tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_dataset(tmp_path / "drawn", 2, 2, 1, 1)
    for path in (tmp_path / "drawn/Annotations").iterdir():
        path.write_text("<annotation><object><name>dog</name></object></annotation>")
    path = pack(tmp_path / "drawn", tmp_path / "served/a.tar", "VOCdevkit/VOC2007", {"trainval", "train", "val"})
    monkeypatch.setitem(source_module.VOC, "voc2007", (Published("a.tar", (f"{mirror}/a.tar",), sha256(path)),))
    run(tmp_path / "dataset", "voc2007")
    assert VocDataset(tmp_path / "dataset").class_names == VOC_CLASSES


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("voc2008", "neither a path that exists nor a known name; write voc2007, voc2012"),
        ("dataset", "would be overwritten"),
        ("notes.txt", "notes.txt: truncated, damaged or no archive"),
        ("cut.tar", "cut.tar: truncated"),
        ("empty", "empty: no dataset: no picture; it needs pictures and"),
        ("lists", "lists: no dataset: no picture"),
        ("'my set.tar'", "my set.tar: wrong checksum"),
    ],
)
def test_bad_sources_leave_the_dataset(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_dataset(tmp_path / "dataset", 1, 1, 1, seed=3)
    (tmp_path / "dataset" / MARKER).touch()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "dataset").rglob("*")}
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:20_000])
    (tmp_path / "empty").mkdir()
    for part in ("Annotations", "JPEGImages"):
        (tmp_path / "lists" / part).mkdir(parents=True)
    with pytest.raises(UserError, match=words) as caught:
        run(Path("dataset"), source, "download.sha256={my set.tar: abcd}")
    assert ".tmp" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "dataset").rglob("*")} == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_place_that_cannot_be_written(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match="cannot be written"):
        run(tmp_path / "file" / "dataset", archive)
    assert (tmp_path / "file").read_text() == "precious"
