import re
from pathlib import Path

import pytest
from PIL import Image

from frcnn.data import notes
from frcnn.data.checks import Count, check_dataset, joint_problems
from frcnn.data.voc.problems import Problem
from frcnn.errors import UserError
from frcnn.params import Params
from tests.factories import change, voc_object, write_list, write_voc

PARAMS = change(Params(), {"data.box_convention": "continuous"})


def check(dataset: Path) -> list[Problem]:
    """Return what is wrong with the files, without what is legal and odd: see test_notes.py."""
    problems = check_dataset(dataset, PARAMS, workers=2).problems
    return [problem for problem in problems if problem.kind not in vars(notes).values()]


def found(dataset: Path) -> list[tuple[str, str, str, str]]:
    return [(problem.file, problem.where, problem.what, problem.action) for problem in check(dataset)]


def test_a_sound_dataset_has_no_problem_and_is_counted(tmp_path: Path) -> None:
    hard = voc_object("dog", extra="<difficult>1</difficult>")
    dataset = write_voc(tmp_path / "d", {"a": voc_object() * 2 + hard, "b": voc_object(), "c": ""})
    write_list(dataset, "b\n", "test")
    report = check_dataset(dataset, Params())
    assert found(dataset) == []
    assert report.pictures == 3
    trainval, test = report.splits["trainval"], report.splits["test"]
    assert trainval.classes == {"cat": Count(3, 2, 0), "dog": Count(1, 1, 1)}
    assert (trainval.images, trainval.empty) == (3, 1)
    assert test.classes == {"cat": Count(1, 1, 0), "dog": Count(0, 0, 0)}


def test_without_a_class_list_every_class_is_known(tmp_path: Path) -> None:
    report = check_dataset(write_voc(tmp_path / "d", {"a": voc_object("cow")}, None), Params())
    assert report.class_names == ["cow"]
    assert found(tmp_path / "d") == []


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
        "ImageSets/Main/val.txt": ("", "lists no image", "note"),
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
        check_dataset(tmp_path / "none", PARAMS)
    with pytest.raises(UserError, match="no image sets; write trainval.txt"):
        check_dataset(tmp_path, PARAMS)


def test_a_huge_picture_comes_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRCNN_MAX_PIXELS", "7998")
    [(file, _, what, action)] = found(write_voc(tmp_path / "d", {"a": voc_object()}))
    words = "8,000 pixels, more than the limit of 7,998 (FRCNN_MAX_PIXELS): tile or shrink it, or raise the limit"
    assert (file, what, action) == ("JPEGImages/a.jpg", f"unreadable picture: {words}", "refuse")


def test_what_no_stage_reads_is_a_note(tmp_path: Path) -> None:
    """Neither splits.train nor splits.test names the lists val and README."""
    dataset = write_voc(tmp_path / "d", {"a": voc_object(), "odd": voc_object("cow") + voc_object(box=(9, 9, 3, 3))})
    write_list(dataset, "a\n")
    write_list(dataset, "a\n", "test")
    write_list(dataset, "odd\ngone\n", "val")
    write_list(dataset, "Made with a tool.\n\n../out\n", "README")
    problems = check(dataset)
    assert {problem.action for problem in problems} == {"note"}
    assert all(problem.kind.name.startswith("not used: ") for problem in problems)
    assert {problem.file for problem in problems} == {
        "Annotations/odd.xml", "Annotations/gone.xml", "JPEGImages/gone.*", "ImageSets/Main/README.txt",
    }  # fmt: skip
    write_list(dataset, "odd\n", "test")
    assert {problem.action for problem in check(dataset) if problem.file == "Annotations/odd.xml"} == {"refuse", "drop"}


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"test": None}, "no such split"),
        ({"trainval": None}, "no such split"),
        ({"trainval": "b\n"}, "no picture of this split shows an object"),
        ({"trainval": "\n"}, "lists no image"),
        ({"test": "a\n../zz\n"}, 'line 2: id "../zz" leads outside'),
    ],
)
def test_lists_that_training_or_evaluation_refuses(tmp_path: Path, lists: dict[str, str | None], words: str) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object(), "b": ""})
    for split, text in {"trainval": "a\n", "test": "b\n", "val": "a\n", **lists}.items():
        write_list(dataset, text or "", split)
        if text is None:
            (dataset / "ImageSets/Main" / f"{split}.txt").unlink()
    report = check_dataset(dataset, PARAMS)
    [problem] = [
        each for each in [*report.problems, *joint_problems([report], PARAMS.splits)] if each.action == "refuse"
    ]
    assert words in problem.what


def test_a_split_may_stand_in_one_of_several_datasets(tmp_path: Path) -> None:
    """`download` joins them; objects may be in one of them, too."""
    first = write_voc(tmp_path / "a", {"a": ""})
    second = write_voc(tmp_path / "b", {"b": voc_object()})
    write_list(second, "b\n", "test")
    reports = [check_dataset(dataset, PARAMS) for dataset in (first, second)]
    assert joint_problems(reports, PARAMS.splits) == []
    assert {problem.file for problem in joint_problems(reports[:1], PARAMS.splits)} == {
        "ImageSets/Main/test.txt", "ImageSets/Main/trainval.txt",
    }  # fmt: skip
