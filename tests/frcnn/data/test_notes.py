from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.data import notes
from frcnn.data.checks import check_dataset
from frcnn.data.voc.problems import Kind
from frcnn.params import Params
from frcnn.sources.shapes import draw_picture
from tests.factories import change, voc_object, write_list, write_voc

COUNTS = (notes.RARE, notes.UNTRAINED)
CONTINUOUS = {"data.box_convention": "continuous"}


def noted(dataset: Path, *left_out: Kind, **values: object) -> list[tuple[Kind, str, str, str]]:
    problems = check_dataset(dataset, change(Params(), {**CONTINUOUS, **values}), workers=2).problems
    assert {problem.action for problem in problems} <= {"note"}
    return [(each.kind, each.file, each.where, each.what) for each in problems if each.kind not in left_out]


def split_up(dataset: Path, trainval: str, test: str) -> Path:
    write_list(dataset, "".join(f"{name}\n" for name in trainval))
    write_list(dataset, "".join(f"{name}\n" for name in test), "test")
    return dataset


def draw(dataset: Path, name: str, seed: int, suffix: str = ".png", scale: int = 1) -> None:
    (dataset / "JPEGImages" / f"{name}.jpg").unlink()
    picture = Image.fromarray(draw_picture(np.random.default_rng(seed))[0])
    picture.resize((picture.width * scale, picture.height * scale)).save(dataset / "JPEGImages" / f"{name}{suffix}")


def test_leaks(tmp_path: Path) -> None:
    """An id in both lists, equal pixels in other formats, another size; each picture of the test split once."""
    dataset = write_voc(tmp_path / "d", dict.fromkeys("abcdefg", ""))
    for name, seed in zip("abcdefg", (1, 2, 3, 1, 2, 4, 4), strict=True):
        draw(dataset, name, seed, ".bmp" if name == "d" else ".png", 2 if name == "e" else 1)
    split_up(dataset, "abc", "cdefg")
    assert noted(dataset, *COUNTS) == [
        (notes.IN_BOTH, "ImageSets/Main/test.txt", "image c", "is in trainval, too"),
        (notes.SAME_IN_BOTH, "JPEGImages/d.bmp", "", "in test, and the same picture as a in trainval"),
        (notes.TWICE, "JPEGImages/g.png", "", "the same picture as f, both in test"),
        (notes.ALIKE_IN_BOTH, "JPEGImages/e.png", "", "in test, and looks like b in trainval"),
    ]


def test_several_look_alikes_are_one_note(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", dict.fromkeys("abc", ""))
    for scale, name in enumerate("abc", 1):
        draw(dataset, name, 1, scale=scale)
    split_up(dataset, "ab", "c")
    assert [what for *_, what in noted(dataset, *COUNTS)] == ["in test, and looks like a and 1 more in trainval"]


def test_what_no_stage_reads_leaks_nothing(tmp_path: Path) -> None:
    dataset = split_up(write_voc(tmp_path / "d", dict.fromkeys("abc", "")), "a", "b")
    write_list(dataset, "a\nc\n", "val")
    (dataset / "JPEGImages/c.jpg").write_bytes((dataset / "JPEGImages/a.jpg").read_bytes())
    assert noted(dataset, *COUNTS) == []


@pytest.mark.parametrize(
    ("objects", "kind", "where", "what"),
    [
        (voc_object() + voc_object("dog") + voc_object(), notes.REPEATED, "object 3 (cat)", "repeats object 1"),
        (voc_object(box=(9, 9, 9.2, 20)), notes.TINY, "object 1 (cat)", "1.5 x 82 px in the resized picture"),
        (voc_object(box=(1, 9, 85, 13)), notes.NARROW, "object 1 (cat)", "84 x 4 px"),
        (voc_object(box=(0, 0, 100, 76)), notes.NEARLY_ALL, "object 1 (cat)", "covers 95% of the picture"),
    ],
)
def test_odd_objects(tmp_path: Path, objects: str, kind: Kind, where: str, what: str) -> None:
    dataset = split_up(write_voc(tmp_path / "d", {"a": objects, "b": ""}), "a", "b")
    assert noted(dataset, *COUNTS) == [(kind, "Annotations/a.xml", where, what)]


@pytest.mark.parametrize(
    "objects",
    [
        voc_object(box=(9, 9, 40, 60)) + voc_object(box=(9, 9, 40, 60.5)),
        voc_object(box=(9, 9, 9.3, 14)),
        voc_object(box=(1, 9, 81, 13)),
        voc_object(box=(0, 0, 100, 75)),
    ],
    ids=["nearly the same box", "2.25 px", "20:1", "94%"],
)
def test_objects_within_the_rules(tmp_path: Path, objects: str) -> None:
    dataset = split_up(write_voc(tmp_path / "d", {"a": objects, "b": ""}), "a", "b")
    assert noted(dataset, *COUNTS) == []


def test_numbers_of_objects_count_those_that_are_dropped(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object(box=(9, 9, 9, 9)) + voc_object() * 2})
    [problem] = [p for p in check_dataset(dataset, Params()).problems if p.kind == notes.REPEATED]
    assert (problem.where, problem.what) == ("object 3 (cat)", "repeats object 2")


def test_class_names_of_one_meaning(tmp_path: Path) -> None:
    names = ["Car", "car", "car\u200b", "c ar", "\uff43ar", "caf\xe9", "cafe\u0301", "cart"]
    objects = "".join(voc_object(name, (9 + i, 9, 50, 60)) for i, name in enumerate(names))
    dataset = split_up(write_voc(tmp_path / "d", {"a": objects, "b": ""}, None), "a", "b")
    found = sorted(noted(dataset, *COUNTS), key=lambda note: note[3])
    assert [(kind, file) for kind, file, *_ in found] == [(notes.SPELLINGS, "Annotations")] * 2
    assert "Car, c ar, car, car\u200b ('car\\u200b'), \uff43ar ('\\uff43ar'): differ in" in found[0][3]
    assert "cafe\u0301 ('cafe\\u0301'), caf\xe9 ('caf\\xe9'): differ in" in found[1][3]


def test_classes_that_training_sees_rarely_or_never(tmp_path: Path) -> None:
    """Difficult objects do not count unless they are trained on."""
    hard = "".join(voc_object(box=(9, 9, 50 + i, 60), extra="<difficult>1</difficult>") for i in range(10))
    dogs = "".join(voc_object("dog", (9, 9, 50 + i, 60)) for i in range(10))
    cows = "".join(voc_object("cow", (9, 9, 50 + i, 60)) for i in range(9))
    dataset = write_voc(tmp_path / "d", {"a": hard + dogs + cows, "b": voc_object()}, "cat\ndog\ncow\nemu\n")
    split_up(dataset, "a", "b")
    rare, never = (notes.RARE, "class cow", "objects: 9 in trainval, 0 in test"), (notes.UNTRAINED, "class emu")
    found = [(kind, where, what) for kind, _, where, what in noted(dataset)]
    assert found == [
        (notes.UNTRAINED, "class cat", "objects: 0 in trainval, 1 in test: its AP will be 0"),
        rare,
        (*never, "objects: 0 in trainval, 0 in test"),
    ]
    assert [each[1] for each in noted(dataset, **{"data.train_difficult": True})] == ["ImageSets/Main/trainval.txt"] * 2


def test_counts_are_not_noted_where_annotations_are_missing(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object(), "b": voc_object("cow")})
    split_up(dataset, "ab", "a")
    assert not {problem.kind for problem in check_dataset(dataset, Params()).problems} & set(COUNTS)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.array([[0, 4095]], np.uint16), "its 16 bits hold 0 to 4,095 of 65,535, read as 0 to 15 of 255"),
        (np.array([[7, 31]], np.uint8), "its values are 7 to 31 of 255"),
        (np.array([[0, 8192]], np.uint16), None),
        (np.array([[0, 32]], np.uint8), None),
    ],
)
def test_almost_black(tmp_path: Path, values: np.ndarray, what: str | None) -> None:
    dataset = split_up(write_voc(tmp_path / "d", dict.fromkeys("ab", "")), "a", "b")
    (dataset / "JPEGImages/a.jpg").unlink()
    Image.fromarray(np.resize(values, (80, 100))).save(dataset / "JPEGImages/a.png")
    expected = [(notes.ALMOST_BLACK, "JPEGImages/a.png", "", what)] if what else []
    assert noted(dataset, *COUNTS) == expected
