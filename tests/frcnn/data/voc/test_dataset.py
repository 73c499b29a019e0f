from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.data.voc.dataset import VOC_CLASSES, VocDataset
from frcnn.errors import UserError
from tests.factories import voc_object, write_list, write_voc


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb", ["a", "b"]),
        ("\ufeffa\n\n  \n b \n", ["a", "b"]),
        ("a -1\nb  1\n", ["a", "b"]),
        ("photo 1\nphoto x\n", ["photo 1", "photo x"]),  # not all lines have a flag, so none has
        ("b\na\nb\n", ["b", "a"]),
    ],
    ids=["plain", "crlf", "blank lines and BOM", "flags", "blanks in ids", "duplicate"],
)
def test_read_split(tmp_path: Path, text: str, ids: list[str]) -> None:
    write_voc(tmp_path / "d", {})
    write_list(tmp_path / "d", text)
    assert VocDataset(tmp_path / "d").split("trainval") == ids


def test_splits_that_are_not_there_or_empty(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {})
    with pytest.raises(UserError, match=r"trainval.txt: lists no image"):
        VocDataset(dataset).split("trainval")
    with pytest.raises(UserError, match=r"test.txt: no such split.*splits of this dataset: trainval"):
        VocDataset(dataset).split("test")


def test_per_class_lists_are_no_splits(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": ""})
    write_list(dataset, "a -1\n", "cat_trainval")
    write_list(dataset, "a\n", "small_trainval")  # a split of one's own
    assert VocDataset(dataset).split_names == ["small_trainval", "trainval"]


@pytest.mark.parametrize(
    ("text", "words"), [(None, "frcnn download"), ("\n", "empty"), ("cat\ncat\n", "cat is listed twice")]
)
def test_bad_class_lists(tmp_path: Path, text: str | None, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _ = VocDataset(write_voc(tmp_path / "d", {}, text)).class_names


def test_voc_classes_are_in_the_official_order() -> None:
    assert len(VOC_CLASSES) == 20
    assert sorted(VOC_CLASSES) == VOC_CLASSES


def test_a_picture_without_objects(tmp_path: Path) -> None:
    [annotation] = VocDataset(write_voc(tmp_path / "d", {"a": ""})).annotations("trainval", "voc")
    assert annotation.boxes.shape == (0, 4)
    assert annotation.boxes.dtype == np.float32
    assert annotation.labels.dtype == np.int64
    assert annotation.difficult.dtype == bool


@pytest.mark.parametrize(
    ("convention", "box", "expected"),
    [
        ("voc", (11, 21, 40, 60), (10, 20, 40, 60)),
        ("voc", (1, 1, 100, 80), (0, 0, 100, 80)),  # the whole picture
        ("voc", (11, 21, 11, 21), (10, 20, 11, 21)),  # one pixel
        ("continuous", (10.25, 20.5, 40.75, 60), (10.25, 20.5, 40.75, 60)),
        ("reference", (11, 21, 40, 60), (10, 20, 39, 59)),
        ("continuous", (-5, 20, 200, 60), (0, 20, 100, 60)),  # clipped
    ],
)
def test_box_conventions(tmp_path: Path, convention: str, box: tuple, expected: tuple) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object("dog", box)})
    [annotation] = VocDataset(dataset).annotations("trainval", convention)
    np.testing.assert_array_equal(annotation.boxes, np.array([expected], np.float32))
    assert annotation.labels.tolist() == [2]


@pytest.mark.parametrize(
    "box", [(40, 20, 10, 60), (10, 20, 10, 60), (200, 20, 300, 60), (-9, 1, 0, 5)], ids=lambda box: f"{box}"
)
def test_boxes_without_extent_are_dropped(tmp_path: Path, box: tuple) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object("cat", box) + voc_object("dog")})
    [annotation] = VocDataset(dataset).annotations("trainval", "continuous")
    assert annotation.labels.tolist() == [2]


def test_names_inside_attributes_and_parts_are_not_the_objects(tmp_path: Path) -> None:
    extra = (
        "<attributes><attribute><name>dog</name></attribute></attributes>"
        "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><difficult>1</difficult>"
    )
    dataset = write_voc(tmp_path / "d", {"a": voc_object("cat", extra=extra)})
    [annotation] = VocDataset(dataset).annotations("trainval", "voc")
    assert annotation.labels.tolist() == [1]
    assert annotation.difficult.tolist() == [True]
    np.testing.assert_array_equal(annotation.boxes, [[10, 20, 40, 60]])


def test_pictures_are_found_by_id_whatever_their_extension(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": "", "b.v1": "", "c": ""})
    pictures = dataset / "JPEGImages"
    (pictures / "a.jpg").rename(pictures / "a.JPEG")
    (pictures / "b.v1.jpg").unlink()
    Image.new("L", (30, 20)).save(pictures / "b.v1.png")
    annotations = VocDataset(dataset).annotations("trainval", "voc", workers=2)
    assert [a.image_id for a in annotations] == ["a", "b.v1", "c"]
    assert [a.path.name for a in annotations] == ["a.JPEG", "b.v1.png", "c.jpg"]
    assert (annotations[1].width, annotations[1].height) == (30, 20)


def test_boxes_belong_to_the_upright_picture(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object(box=(1, 1, 80, 100))})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(dataset / "JPEGImages" / "a.jpg", exif=exif)
    [annotation] = VocDataset(dataset).annotations("trainval", "voc")
    assert (annotation.width, annotation.height) == (80, 100)
    np.testing.assert_array_equal(annotation.boxes, [[0, 0, 80, 100]])


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (voc_object("cow"), r"a.xml: object 1 \(cow\): class cow is not in the class list; add it"),
        (voc_object() + voc_object(box=("x", 1, 2, 3)), r"a.xml: object 2 \(cat\): xmin is 'x', not a number"),
        (voc_object(box=("nan", 1, 2, 3)), "not a number"),
        ("<object><name>cat</name></object>", "no bndbox/xmin"),
        (voc_object(""), "object 1: no <name>"),
        ("\n\n<object>", r"a.xml: line 3: malformed XML: mismatched tag"),
    ],
    ids=["class", "text", "nan", "no box", "no name", "malformed"],
)
def test_what_training_refuses(tmp_path: Path, objects: str, words: str) -> None:
    dataset = write_voc(tmp_path / "d", {"a": objects})
    with pytest.raises(UserError, match=words) as caught:
        VocDataset(dataset).annotations("trainval", "voc")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "words"), [("Annotations/a.xml", "no such annotation"), ("JPEGImages/a.jpg", "no such picture")]
)
def test_missing_files_are_named(tmp_path: Path, file: str, words: str) -> None:
    dataset = write_voc(tmp_path / "d", {"a": ""})
    (dataset / file).unlink()
    with pytest.raises(UserError, match=f"{Path(file).stem}.*{words}"):
        VocDataset(dataset).annotations("trainval", "voc")


def test_class_names_are_sorted_and_distinct(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object("dog") + voc_object("cat"), "b": voc_object("dog"), "c": ""})
    (dataset / "Annotations" / "c.xml").write_text("<")
    assert VocDataset(dataset).annotated_class_names(["a", "b", "c", "none"]) == ["cat", "dog"]


def test_a_class_name_over_two_lines_is_one_name(tmp_path: Path) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object("traffic\n   light")})
    assert VocDataset(dataset).annotated_class_names(["a"]) == ["traffic light"]
    (dataset / "classes.txt").write_text("traffic light\n")
    [annotation] = VocDataset(dataset).annotations("trainval", "voc")
    assert annotation.labels.tolist() == [1]


def test_ids_that_end_in_a_blank_and_a_digit_are_no_flags(tmp_path: Path) -> None:
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("photo 0\nphoto 1\n")
    assert VocDataset(tmp_path).split("train") == ["photo"]  # flags
    for name in ("photo 0", "photo 1"):
        (tmp_path / "Annotations" / f"{name}.xml").write_text("<annotation/>")
    assert VocDataset(tmp_path).split("train") == ["photo 0", "photo 1"]


@pytest.mark.parametrize("extension", [".jfif", ".ppm", ".PGM", ".jp2", ".j2k", ".avif", ".dib"])
def test_extensions_of_all_formats_are_taken(tmp_path: Path, extension: str) -> None:
    dataset = write_voc(tmp_path / "d", {"a": voc_object()})
    path = dataset / "JPEGImages" / "a.jpg"
    path.rename(path.with_suffix(extension))
    [annotation] = VocDataset(dataset).annotations("trainval", "voc")
    assert (annotation.path.suffix, annotation.width) == (extension, 100)
