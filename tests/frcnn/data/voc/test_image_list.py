"""Lists of images as other programs write them: read as they are meant, or refused with every bad line at once."""

from pathlib import Path

import pytest

from frcnn.data.voc.dataset import VocDataset
from frcnn.errors import UserError
from tests.factories import write_list, write_voc

IDS = ["plain", "cam/b", "my photo 1", "10", "2"]


def write(folder: Path, text: str, ids: list[str] = IDS) -> VocDataset:
    for part in ("Annotations", "JPEGImages"):
        (folder / part / "cam").mkdir(parents=True)
        for image_id in ids:
            (folder / part / f"{image_id}{'.xml' if part == 'Annotations' else '.JPG'}").touch()
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    write_list(folder, text)
    return VocDataset(folder)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("plain 2\ncam/b 1\n", ["plain", "cam/b"]),
        ("plain\tcat\ncam/b\tdog\n", ["plain", "cam/b"]),
        ("10 1\n2 0\n", ["10", "2"]),  # flags, though a picture 2 is there
        ("my photo 1.jpg 0 7\nplain.jpg 1 7\n", ["my photo 1", "plain"]),
        ("filename,label\nplain.jpg,3\n", ["filename,label", "plain"]),  # a heading is missing then
        ('"my photo 1"\nplain\n', ["my photo 1", "plain"]),
        ("'plain.jpg',\n\"cam/b.JPG\",\n", ["plain", "cam/b"]),
        ('"my photo 1", 3\n', ["my photo 1"]),
        ("plain,\ncam/b ;\n", ["plain", "cam/b"]),
        ("plain.jpg\ncam/b.JPG\nmy photo 1.xml\n", ["plain", "cam/b", "my photo 1"]),
        ("JPEGImages/cam/b.jpg\n./JPEGImages/plain.jpg\n", ["cam/b", "plain"]),
        ("VOC2007/JPEGImages/plain\nVOC2007/Annotations/cam/b.xml\n", ["plain", "cam/b"]),
        ("/JPEGImages/plain.jpg /SegmentationClass/plain.png\n", ["plain"]),
        ("JPEGImages/plain.jpg Annotations/plain.xml\n", ["plain"]),
        ("Annotations/cam/b.xml JPEGImages/cam/b.jpg\n", ["cam/b"]),
        ("C:\\data\\JPEGImages\\cam\\b.jpg\nD:\\my photo 1.jpg\n", ["cam/b", "my photo 1"]),
        ("cam\\b\r\nplain\r\n", ["cam/b", "plain"]),
        ("/home/me/photos/cam/b.jpg\n../photos/plain.jpg\n", ["cam/b", "plain"]),
        ("plain\nmy\n", ["plain", "my"]),  # not there, and no beginning of a line stands for another
        ("plain\nplain 3\n", ["plain", "plain 3"]),  # a name with a blank, since the first line has no columns
        ("plain\ncam2/plain\n", ["plain", "cam2/plain"]),
        ("plain.v1\nplain.v1.jpg\n", ["plain.v1", "plain.v1.jpg"]),
        ("", []),
    ],
    ids=lambda value: repr(value) if isinstance(value, str) else None,
)
def test_lines_are_read_by_the_files_that_are_there(tmp_path: Path, text: str, ids: list[str]) -> None:
    assert [image_id for _, image_id in write(tmp_path, text).split_lines("trainval")] == ids


def test_an_id_as_it_stands_comes_first(tmp_path: Path) -> None:
    ids = ["a", "a 1", "a.jpg", '"a"', "JPEGImages"]
    dataset = write(tmp_path, "".join(f"{image_id}\n" for image_id in ids), ids)
    assert dataset.split("trainval") == ids


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_of_text_editors(tmp_path: Path, encoding: str) -> None:
    dataset = write(tmp_path, "")
    dataset.split_path("trainval").write_bytes("my photo 1\r\n\r\n  plain\r\n".encode(encoding))
    (tmp_path / "classes.txt").write_bytes("caf\u00e9\r\nchat\r\n".encode(encoding))
    assert dataset.split_lines("trainval") == [(1, "my photo 1"), (3, "plain")]
    assert dataset.class_names == ["caf\u00e9", "chat"]


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    dataset = write(tmp_path, "")
    dataset.split_path("trainval").write_bytes("caf\u00e9\n".encode("latin-1"))
    with pytest.raises(UserError, match="trainval.txt: not UTF-8 text; save it as UTF-8"):
        dataset.split("trainval")


def test_a_line_with_two_meanings_is_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path, "a b 2\na 2\n", ["a", "a b"])
    with pytest.raises(UserError) as caught:
        dataset.split("trainval")
    path = tmp_path / "ImageSets/Main/trainval.txt"
    assert caught.value.args == (f'{path}: line 1: "a b 2" means a or a b; write one id per line',)


def test_all_bad_ids_are_named_at_once(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": ""})
    write_list(dataset, "../x\na\n\n" + "b\tc\n" * 40)
    with pytest.raises(UserError) as caught:
        VocDataset(dataset).split("trainval")
    lines = caught.value.args
    assert "trainval.txt: line 1: id " in lines[0] and "leads outside" in lines[0]
    assert "trainval.txt: line 4: id " in lines[1] and "control characters" in lines[1]
    assert lines[30:] == ("and 11 more such lines",)
