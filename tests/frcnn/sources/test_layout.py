import errno
import os
import shutil
from pathlib import Path

import pytest

from frcnn.data.voc.dataset import VOC_CLASSES, VocDataset
from frcnn.data.voc.problems import MARKER
from frcnn.errors import UserError
from frcnn.files import atomic_folder
from frcnn.params import Download
from frcnn.sources.layout import find_roots, install, link_or_copy
from frcnn.sources.shapes import CLASSES
from frcnn.sources.synthetic import draw_dataset
from tests.factories import troubles


def draw(folder: Path, seed: int = 1, prefix: str = "") -> Path:
    """Draw a dataset as a stranger's: without classes.txt, ids with `prefix`, lists with CRLF and per-class lists."""
    draw_dataset(folder, 3, 1, 1, seed)
    (folder / "classes.txt").unlink()
    for path in [*(folder / "JPEGImages").iterdir(), *(folder / "Annotations").iterdir()]:
        path.rename(path.with_name(prefix + path.name))
    for path in list((folder / "ImageSets/Main").iterdir()):
        ids = [prefix + line for line in path.read_text().split()]
        path.write_text("\r\n".join(ids) + "\r\n\r\n", newline="")
        path.with_name(f"star_{path.name}").write_text("".join(f"{image_id} -1\n" for image_id in ids))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (MARKER, ".dataset.lock")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_roots_are_found_at_any_depth(tmp_path: Path) -> None:
    first, second = draw(tmp_path / "kit" / "VOC2007"), draw(tmp_path / "kit" / "VOC2012", 2)
    (tmp_path / "kit" / "docs").mkdir()
    assert [dataset.root for dataset in find_roots(tmp_path)] == [first, second]
    assert [dataset.root for dataset in find_roots(first)] == [first]


def test_folders_that_are_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dataset in VOC layout"):
        find_roots(tmp_path)
    shutil.rmtree(draw(tmp_path / "d") / "ImageSets")
    with pytest.raises(UserError, match=r"d/ImageSets/Main: no image sets; write trainval.txt and test.txt"):
        find_roots(tmp_path)


def test_one_root_is_installed_by_links(tmp_path: Path) -> None:
    root, dataset = draw(tmp_path / "source"), tmp_path / "dataset"
    (root / "JPEGImages" / "in_no_split.jpg").write_bytes(b"")
    install([VocDataset(root)], dataset)
    assert troubles(dataset) == []
    assert (dataset / "JPEGImages/test_00001.jpg").samefile(root / "JPEGImages/test_00001.jpg")
    assert not (dataset / "JPEGImages/in_no_split.jpg").exists()
    assert sorted(path.name for path in (dataset / "ImageSets/Main").iterdir()) == [
        "test.txt",
        "train.txt",
        "trainval.txt",
        "val.txt",
    ]
    assert (dataset / "ImageSets/Main/test.txt").read_bytes() == b"test_00001\n"


def test_where_links_are_refused_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    root = draw(tmp_path / "source")
    install([VocDataset(root)], tmp_path / "linked")
    monkeypatch.setattr(os, "link", refuse)
    install([VocDataset(root)], tmp_path / "copied")
    assert content(tmp_path / "linked") == content(tmp_path / "copied")
    assert (tmp_path / "copied/JPEGImages/test_00001.jpg").stat().st_nlink == 1


def test_links_are_followed_and_not_installed(tmp_path: Path) -> None:
    root = draw(tmp_path / "source")
    picture = root / "JPEGImages" / "test_00001.jpg"
    picture.rename(root / "elsewhere.jpg")
    picture.symlink_to("../elsewhere.jpg")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a").symlink_to(root)
    install(find_roots(tmp_path / "links"), tmp_path / "dataset")
    installed = tmp_path / "dataset/JPEGImages/test_00001.jpg"
    assert not installed.is_symlink()
    assert installed.read_bytes() == (root / "elsewhere.jpg").read_bytes()


def test_roots_are_joined_in_order(tmp_path: Path) -> None:
    first, second = draw(tmp_path / "b", 1), draw(tmp_path / "a", 2, "x")
    (second / "ImageSets/Main/test.txt").unlink()  # as in VOC2012
    install([VocDataset(first), VocDataset(second)], tmp_path / "dataset")
    trainval = ["train_00001", "train_00002", "train_00003", "val_00001"]
    assert VocDataset(tmp_path / "dataset").split("trainval") == trainval + [f"x{image_id}" for image_id in trainval]
    assert VocDataset(tmp_path / "dataset").split("test") == ["test_00001"]
    assert troubles(tmp_path / "dataset") == []


def test_one_id_in_two_roots_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="picture t.* is also in"):
        install([VocDataset(draw(tmp_path / "a")), VocDataset(draw(tmp_path / "b", 2))], tmp_path / "dataset")


def remove(root: Path, *files: str) -> VocDataset:
    for file in files:
        (root / file).unlink()
    return VocDataset(root)


MISSING = ("JPEGImages/train_00001.jpg", "JPEGImages/val_00001.jpg", "Annotations/val_00001.xml")


def test_listed_files_that_are_missing_are_refused_at_once(tmp_path: Path) -> None:
    sources = [remove(draw(tmp_path / "a"), *MISSING), remove(draw(tmp_path / "b", 2, "x"))]
    with (tmp_path / "b/ImageSets/Main/test.txt").open("a") as file:
        file.write("".join(f"gone {number}\n" for number in range(5)))
    with pytest.raises(UserError) as caught:
        install(sources, tmp_path / "dataset")
    first, second, third = caught.value.args
    lists, mend = tmp_path / "a/ImageSets/Main", "or leave them out with download.missing: drop"
    assert first == (
        f"{lists}: 1 listed image has neither picture nor annotation: trainval.txt line 4 (val_00001); write one "
        f"picture per line, its path below JPEGImages without extension, {mend}"
    )
    assert second == f"{lists}: 1 listed image has no picture: trainval.txt line 1 (train_00001); add them, {mend}"
    places = ", ".join(f"test.txt line {3 + number} (gone {number})" for number in range(3))
    assert f"b/ImageSets/Main: 5 listed images have neither picture nor annotation: {places}, and 2 more; " in third


def test_listed_files_that_are_missing_may_be_left_out(tmp_path: Path) -> None:
    source = remove(draw(tmp_path / "a"), *MISSING)
    remarks = install([source], tmp_path / "dataset", Download(missing="drop"))
    assert remarks == [
        "listed ids without picture or annotation, left out: 2",
        "lists that name no picture, left out: val.txt",
    ]
    lists = {split: VocDataset(tmp_path / "dataset").split_lines(split) for split in ("test", "train", "trainval")}
    rest = [(1, "train_00002"), (2, "train_00003")]
    assert lists == {"test": [(1, "test_00001")], "train": rest, "trainval": rest}
    assert content(tmp_path / "dataset").keys() >= {"JPEGImages/train_00002.jpg", "Annotations/train_00002.xml"}
    assert "Annotations/train_00001.xml" not in content(tmp_path / "dataset")


@pytest.mark.parametrize("text", ["", "none\n"])
def test_lists_of_which_nothing_is_left_are_refused(tmp_path: Path, text: str) -> None:
    source = draw(tmp_path / "a")
    for path in (source / "ImageSets/Main").iterdir():
        path.write_text(text)
    with pytest.raises(UserError, match="a/ImageSets/Main: no list names a picture that is there"):
        install([VocDataset(source)], tmp_path / "dataset", Download(missing="drop"))


def test_lists_that_no_stage_reads_need_not_be_sound(tmp_path: Path) -> None:
    """A file of words is no list; of a list the rest is kept; what training reads is whole."""
    source = draw(tmp_path / "a")
    lists = {
        "README": "Made with a tool.\nSee ../docs\tand more.\n",
        "val": "gone\nval_00001\n",
        "words": "some words\n",
    }
    for split, text in lists.items():
        (source / f"ImageSets/Main/{split}.txt").write_text(text)
    remarks = install([VocDataset(source)], tmp_path / "dataset")
    assert remarks == [
        "listed ids without picture or annotation, left out: 1",
        "lists that name no picture, left out: README.txt, words.txt",
    ]
    assert VocDataset(tmp_path / "dataset").split_names == ["test", "train", "trainval", "val"]
    assert VocDataset(tmp_path / "dataset").split("val") == ["val_00001"]
    (source / "ImageSets/Main/test.txt").write_text(lists["README"])
    with pytest.raises(UserError, match=r"test.txt: line 2: id .* control characters"):
        install([VocDataset(source)], tmp_path / "again")


def test_an_annotation_gets_its_ordinary_name(tmp_path: Path) -> None:
    source = draw(tmp_path / "a")
    (source / "Annotations/test_00001.xml").rename(source / "Annotations/test_00001.XML")
    assert install([VocDataset(source)], tmp_path / "dataset") == []
    assert (tmp_path / "dataset/Annotations/test_00001.xml").exists()
    assert troubles(tmp_path / "dataset") == []


@pytest.mark.parametrize("line", ["../../secret", "/etc/passwd", "a/../../b"])
def test_ids_that_lead_outside_are_refused(tmp_path: Path, line: str) -> None:
    root = draw(tmp_path / "source")
    (root / "ImageSets/Main/test.txt").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"test.txt: line 1: id .* leads outside"):
        install([VocDataset(root)], tmp_path / "dataset")


@pytest.mark.parametrize(
    ("given", "voc", "expected"),
    [
        (["triangle", "star"], False, ["triangle", "star"]),
        (None, False, CLASSES),
        (None, True, CLASSES),  # not PASCAL's classes after all
    ],
    ids=["given", "sorted", "other classes"],
)
def test_class_lists(tmp_path: Path, given: list[str] | None, voc: bool, expected: list[str]) -> None:
    draw_dataset(tmp_path / "source", 10, 10, 10, 1)
    install([VocDataset(tmp_path / "source")], tmp_path / "dataset", Download(classes=given), voc=voc)
    assert VocDataset(tmp_path / "dataset").class_names == expected


def test_voc_keeps_its_twenty_classes(tmp_path: Path) -> None:
    root = draw(tmp_path / "source")
    for path in (root / "Annotations").iterdir():
        path.write_text("<annotation><object><name>sheep</name></object></annotation>")
    install([VocDataset(root)], tmp_path / "voc", voc=True)
    install([VocDataset(root)], tmp_path / "other")
    assert VocDataset(tmp_path / "voc").class_names == VOC_CLASSES
    assert VocDataset(tmp_path / "other").class_names == ["sheep"]


def test_no_class_at_all(tmp_path: Path) -> None:
    root = draw(tmp_path / "source")
    for path in (root / "Annotations").iterdir():
        path.write_text("<annotation/>")
    with pytest.raises(UserError, match=r"name the classes in download\.classes"):
        install([VocDataset(root)], tmp_path / "dataset")


def old_dataset(folder: Path) -> Path:
    folder.mkdir()
    (folder / "classes.txt").write_text("old\n")
    (folder / MARKER).touch()
    return folder


def replace_by(folder: Path, text: str) -> None:
    with atomic_folder(folder, MARKER) as scratch:
        (scratch / "new" / "classes.txt").write_text(text)


def test_a_dataset_is_replaced_as_a_whole(tmp_path: Path) -> None:
    dataset = old_dataset(tmp_path / "dataset")
    (dataset / "more").write_text("")
    replace_by(dataset, "new\n")
    assert content(tmp_path) == {"dataset/classes.txt": b"new\n"}
    replace_by(tmp_path / "fresh" / "dataset", "new\n")
    assert (tmp_path / "fresh/dataset/classes.txt").exists()


@pytest.mark.parametrize("error", [UserError("bad"), KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left")])
def test_after_an_error_the_old_dataset_stays(tmp_path: Path, error: BaseException) -> None:
    dataset = old_dataset(tmp_path / "dataset")
    with pytest.raises((UserError, KeyboardInterrupt)), atomic_folder(dataset, MARKER):
        raise error
    assert content(tmp_path) == {"dataset/classes.txt": b"old\n"}
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".dataset.lock", dataset]


def test_when_the_swap_fails_the_old_dataset_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = old_dataset(tmp_path / "dataset")
    original = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match=r"dataset: cannot be written: No space left"):
        replace_by(dataset, "new\n")
    assert content(tmp_path) == {"dataset/classes.txt": b"old\n"}


def test_what_is_no_dataset_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").write_text("dear")
    (tmp_path / "file").write_text("dear")
    with pytest.raises(UserError, match="holds files of something else"):
        replace_by(tmp_path / "home", "")
    with pytest.raises(UserError, match="is a file"):
        replace_by(tmp_path / "file", "")
    with pytest.raises(UserError, match="cannot be written"):
        replace_by(tmp_path / "file" / "dataset", "")
    assert content(tmp_path) == {"home/letters": b"dear", "file": b"dear"}


def test_a_users_own_folder_is_not_replaced(tmp_path: Path) -> None:
    """A classes.txt, as labelling tools write it beside their files, does not make a folder ours."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "classes.txt").write_text("dog\n")
    with pytest.raises(UserError, match="holds files of something else"):
        replace_by(tmp_path / "mine", "new\n")
    assert content(tmp_path) == {"mine/classes.txt": b"dog\n"}


def test_a_picture_whose_name_differs_by_case_alone_is_not_written_into_another(tmp_path: Path) -> None:
    """On macOS and Windows both names are one file; here the second is made to be there already."""
    for folder in ("cats", "dogs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_text(folder)
    link_or_copy(tmp_path / "cats/a.jpg", tmp_path / "new/a.jpg")
    with pytest.raises(UserError, match=r"dogs.a\.jpg: another name differs from this one by case alone"):
        link_or_copy(tmp_path / "dogs/a.jpg", tmp_path / "new/a.jpg")
    assert (tmp_path / "cats/a.jpg").read_text() == "cats"
