import re
from pathlib import Path

import pytest
from PIL import Image

from frcnn.data.checks import Count, check_dataset
from frcnn.errors import UserError
from tests.factories import voc_object, write_list, write_voc


def found(dataset: Path, convention: str = "continuous") -> list[tuple[str, str, str, str]]:
    problems = check_dataset(dataset, convention, workers=2).problems
    return [(problem.file, problem.where, problem.what, problem.action) for problem in problems]


def test_a_sound_dataset_has_no_problem_and_is_counted(tmp_path: Path) -> None:
    hard = voc_object("dog", extra="<difficult>1</difficult>")
    dataset = write_voc(tmp_path / "d", {"a": voc_object() * 2 + hard, "b": voc_object(), "c": ""})
    write_list(dataset, "b\n", "test")
    report = check_dataset(dataset, "voc")
    assert report.problems == []
    assert report.pictures == 3
    trainval, test = report.splits["trainval"], report.splits["test"]
    assert trainval.classes == {"cat": Count(3, 2, 0), "dog": Count(1, 1, 1)}
    assert (trainval.images, trainval.empty) == (3, 1)
    assert test.classes == {"cat": Count(1, 1, 0), "dog": Count(0, 0, 0)}


def test_without_a_class_list_every_class_is_known(tmp_path: Path) -> None:
    report = check_dataset(write_voc(tmp_path / "d", {"a": voc_object("cow")}, None), "voc")
    assert report.class_names == ["cow"]
    assert report.problems == []


@pytest.mark.parametrize(
    ("objects", "where", "what", "action"),
    [
        (voc_object("cow"), "object 1 (cow)", "not in the class list", "refuse"),
        (voc_object() + voc_object(box=(9, 9, 9, 20)), "object 2 (cat)", "no extent", "drop"),
        (voc_object(box=(30, 9, 9, 20)), "object 1 (cat)", "no extent", "drop"),
        (voc_object(box=(130, 9, 190, 20)), "object 1 (cat)", "outside the picture of 100 x 80", "drop"),
        (voc_object(box=(-3, 9, 105, 20)), "object 1 (cat)", "by 5 px", "clip"),
        (voc_object(extra="<difficult>maybe</difficult>"), "object 1 (cat)", "'maybe'", "note"),
        ("<size><width>90</width><height>80</height></size>", "size", "size says 90 x 80", "note"),
        ("<size><width>80</width><height>100</height></size>", "size", "exchanged", "note"),
        ("<object>", "line 1", "malformed XML", "refuse"),
    ],
    ids=lambda value: None if "<" in value else value,
)
def test_problems_of_an_annotation(tmp_path: Path, objects: str, where: str, what: str, action: str) -> None:
    [problem] = found(write_voc(tmp_path / "d", {"good": voc_object(), "a": objects}))
    assert problem[0] == "Annotations/a.xml"
    assert problem[1] == where
    assert what in problem[2]
    assert problem[3] == action


def test_absent_sizes_are_no_problem(tmp_path: Path) -> None:
    assert found(write_voc(tmp_path / "d", {"a": "<size><width/><height></height></size>", "b": ""})) == []


def test_a_size_taken_before_rotation_is_told(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": "<size><width>100</width><height>80</height></size>"})
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.new("RGB", (100, 80)).save(dataset / "JPEGImages" / "a.jpg", exif=exif)
    [(_, _, what, action)] = found(dataset)
    assert "upright" in what
    assert action == "note"


def test_problems_of_files_and_lists(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", dict.fromkeys(["cut", "gone", "other", "bare", "twin", "text"], ""))
    pictures = dataset / "JPEGImages"
    (pictures / "other.jpg").rename(pictures / "other.HEIC")
    (pictures / "gone and back.heic").touch()
    Image.effect_noise((200, 200), 90).save(pictures / "cut.jpg")
    (pictures / "cut.jpg").write_bytes((pictures / "cut.jpg").read_bytes()[:4000])  # its header is sound
    (pictures / "gone.jpg").unlink()
    (dataset / "Annotations" / "bare.xml").unlink()
    (pictures / "twin.png").write_bytes((pictures / "twin.jpg").read_bytes())
    (pictures / "text.jpg").write_text("text")
    write_list(dataset, "cut\ngone\nbare\n\ntwin\ntext\ncut\nother\n")
    write_list(dataset, "\n", "val")
    problems = {file: (where, what, action) for file, where, what, action in found(dataset)}
    assert problems == {
        "ImageSets/Main/trainval.txt": ("line 7", "cut is listed on line 1 already", "drop"),
        "ImageSets/Main/val.txt": ("", "lists no image", "refuse"),
        "JPEGImages/cut.jpg": ("", problems["JPEGImages/cut.jpg"][1], "refuse"),
        "JPEGImages/gone.*": ("", "no such picture", "refuse"),
        "JPEGImages/other.*": (
            "",
            "no such picture, but other.HEIC, which is not read: convert it to JPEG or PNG",
            "refuse",
        ),
        "Annotations/bare.xml": ("", "no such annotation", "refuse"),
        "JPEGImages/twin.jpg": ("", "used; not used: twin.png", "note"),
        "JPEGImages/text.jpg": ("", "unreadable picture: not a format that is known", "refuse"),
    }
    assert re.search("truncated", problems["JPEGImages/cut.jpg"][1])


def test_no_dataset_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check_dataset(tmp_path / "none", "voc")
    with pytest.raises(UserError, match="no image sets; write trainval.txt"):
        check_dataset(tmp_path, "voc")


def test_a_huge_picture_comes_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRCNN_MAX_PIXELS", "7998")
    [(file, _, what, action)] = found(write_voc(tmp_path / "d", {"a": voc_object()}))
    words = "8,000 pixels, more than the limit of 7,998 (FRCNN_MAX_PIXELS): tile or shrink it, or raise the limit"
    assert (file, what, action) == ("JPEGImages/a.jpg", f"unreadable picture: {words}", "refuse")
