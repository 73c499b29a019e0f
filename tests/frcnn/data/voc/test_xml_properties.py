"""VOC annotations in any spelling: what was written is read, by each of the three conventions of coordinates."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset

# On a busy machine drawing may take long.
ALWAYS = settings(deadline=None, max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
OFFSETS = {"voc": (-1, -1, 0, 0), "continuous": (0, 0, 0, 0), "reference": (-1, -1, -1, -1)}
CONVENTIONS = st.sampled_from(sorted(OFFSETS))
# Any writing system, blanks, line breaks, quotes, brackets; no control characters, which XML cannot hold.
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")
NAMES = st.text(LETTERS | st.just("\n"), min_size=1, max_size=12).map(lambda text: " ".join(text.split())).filter(bool)
BLANKS = st.text(" \t\n", max_size=3)
FLAGS = {"": False, "0": False, "1": True, "true": True, "False": False, " 1\n": True}
# What tools put between the elements that count; the parts of a person have names and boxes of their own.
NOISE = [
    "<pose>Left</pose>", "<truncated>1</truncated>", "<!-- <difficult>1</difficult> -->", "<occluded/>", "\n\t",
    "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>",
    "<attributes><attribute><name>colour</name><value>red</value></attribute></attributes>", "<?tool 1?>",
]  # fmt: skip


class Thing(NamedTuple):
    """An object as it is written: four numbers as texts, of which the values are known."""

    name: str
    corners: tuple[str, str, str, str]
    difficult: str | None


def number(value: float) -> st.SearchStrategy[str]:
    """Return spellings of a number."""
    texts = [repr(value), f" {value!r}\n", f"{value:e}", f"+{value!r}" if value >= 0 else repr(value)]
    return st.sampled_from(texts + ([f"{value:.0f}"] if value == int(value) else []))


@st.composite
def things(draw: st.DrawFn, low: int = -20, high: int = 140) -> Thing:
    """Return an object, most of them in a picture of 100 x 80; a few without extent or outside."""
    fraction = draw(st.sampled_from([1, 1, 4, 10]))
    x, y, width, height = (draw(st.integers(fraction * a, fraction * b)) for a, b in [(low, high)] * 2 + [(-2, 90)] * 2)
    corners = tuple(draw(number(value / fraction)) for value in (x, y, x + width, y + height))
    return Thing(draw(NAMES), corners, draw(st.sampled_from([None, *FLAGS])))


@st.composite
def xml(draw: st.DrawFn, written: list[Thing], size: tuple[int, int]) -> bytes:
    """Return an annotation: tags in any order, unknown ones between them, any encoding."""

    def mixed(parts: list[str]) -> str:
        noise = draw(st.lists(st.sampled_from(NOISE), max_size=2))
        return "".join(draw(st.permutations(parts + noise)))

    objects = []
    for thing in written:
        corners = zip(("xmin", "ymin", "xmax", "ymax"), thing.corners, strict=True)
        box = mixed([f"<{corner}>{text}</{corner}>" for corner, text in corners])
        name = f"<name>{draw(BLANKS)}{escape(thing.name)}{draw(BLANKS)}</name>"
        flag = [] if thing.difficult is None else [f"<difficult>{thing.difficult}</difficult>"]
        objects.append(f"<object>{mixed([name, f'<bndbox>{box}</bndbox>', *flag])}</object>")
    width, height = size
    header = mixed(["<folder>x</folder>", f"<size><width>{width}</width><height>{height}</height></size>"])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    declared = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
    if encoding == "utf-8" and draw(st.booleans()):
        declared = ""
    return f"{declared}<annotation>{header}{''.join(objects)}</annotation>".encode(encoding)


def write(folder: Path, content: dict[str, bytes], names: list[str], size: tuple[int, int]) -> Path:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for image_id, text in content.items():
        (folder / "Annotations" / f"{image_id}.xml").write_bytes(text)
        Image.new("1", size).save(folder / "JPEGImages" / f"{image_id}.png")
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("".join(f"{image_id}\n" for image_id in content))
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return folder


def expected_of(
    written: list[Thing], names: list[str], convention: str, size: tuple[int, int]
) -> list[tuple[list[float], int, bool]]:
    """Return (box, label, difficult) of the objects that have an extent in the picture."""
    limits, kept = (*size, *size), []
    for thing in written:
        corners = [float(text) + offset for text, offset in zip(thing.corners, OFFSETS[convention], strict=True)]
        box = [min(max(value, 0.0), float(limit)) for value, limit in zip(corners, limits, strict=True)]
        if corners[2] > corners[0] and corners[3] > corners[1] and box[2] > box[0] and box[3] > box[1]:
            kept.append((box, 1 + names.index(thing.name), FLAGS[thing.difficult or ""]))
    return kept


@given(st.data(), st.lists(things(), max_size=4), CONVENTIONS)
@ALWAYS
def test_what_is_written_is_read(data: st.DataObject, written: list[Thing], convention: str) -> None:
    size = data.draw(st.tuples(st.integers(1, 120), st.integers(1, 120)))
    names = sorted({thing.name for thing in written} | {"one more"})
    with tempfile.TemporaryDirectory() as temporary:
        dataset = write(Path(temporary), {"a": data.draw(xml(written, size))}, names, size)
        [annotation] = VocDataset(dataset).annotations("trainval", convention)
        assert VocDataset(dataset).annotated_class_names(["a"]) == sorted({thing.name for thing in written})
    expected = expected_of(written, names, convention, size)
    assert (annotation.image_id, annotation.width, annotation.height) == ("a", *size)
    assert [array.dtype for array in arrays(annotation)] == [np.float32, np.int64, bool]
    for array, column in zip(arrays(annotation), range(3), strict=True):
        wanted = np.array([row[column] for row in expected], array.dtype).reshape(array.shape)
        np.testing.assert_array_equal(array, wanted)
    assert annotation.boxes.shape == (len(expected), 4)


def arrays(annotation: Annotation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return annotation.boxes, annotation.labels, annotation.difficult


@given(st.data(), st.lists(things(), max_size=4), CONVENTIONS)
@ALWAYS
def test_every_object_is_read_or_reported(data: st.DataObject, written: list[Thing], convention: str) -> None:
    size = (100, 80)
    names = {thing.name for thing in written}
    labels = {name: label for label, name in enumerate(sorted(names), 1)}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = write(Path(temporary), {"a": data.draw(xml(written, size))}, [], size)
        annotation, problems = VocDataset(dataset).annotation("a", labels, convention)
    dropped = [problem for problem in problems if problem.action == "drop"]
    assert len(annotation.labels) + len(dropped) == len(written)
    assert {problem.action for problem in problems} <= {"drop", "clip"}
    clipped = {problem.where for problem in problems if problem.action == "clip"}
    moved = set()
    for place, thing in enumerate(written, 1):
        corners = [float(text) + offset for text, offset in zip(thing.corners, OFFSETS[convention], strict=True)]
        if min(corners) < 0 or corners[2] > size[0] or corners[3] > size[1]:
            moved.add(f"object {place} ({thing.name})")
    assert clipped == moved - {problem.where for problem in dropped}
    boxes = annotation.boxes
    assert (boxes >= 0).all()
    assert (boxes <= [*size, *size]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@given(st.data(), st.integers(1, 90), st.integers(1, 70), st.integers(1, 99), st.integers(1, 79))
@ALWAYS
def test_the_conventions_differ_as_documented(data: st.DataObject, x: int, y: int, right: int, below: int) -> None:
    """A VOC box over pixels xmin..xmax counts both; the reference's index boxes are one pixel short of it."""
    size = (100, 80)
    corners = (x, y, min(x + right, 100), min(y + below, 80))
    thing = Thing("cat", tuple(map(str, corners)), None)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = write(Path(temporary), {"a": data.draw(xml([thing], size))}, ["cat"], size)
        for convention in OFFSETS:
            [annotation] = VocDataset(dataset).annotations("trainval", convention)
            found[convention] = annotation.boxes[0]
    pixels = np.zeros((80, 100), bool)  # the box as people mark it: pixels counted from 1, both ends included
    pixels[corners[1] - 1 : corners[3], corners[0] - 1 : corners[2]] = True
    rows, columns = np.nonzero(pixels)
    np.testing.assert_array_equal(found["voc"], [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    np.testing.assert_array_equal(found["reference"], [columns.min(), rows.min(), columns.max(), rows.max()])
    np.testing.assert_array_equal(found["continuous"], corners)


@given(st.data(), st.lists(things(), min_size=1, max_size=3))
@ALWAYS
def test_a_name_that_is_not_listed_refuses_the_picture(data: st.DataObject, written: list[Thing]) -> None:
    odd = data.draw(st.sampled_from(written)).name
    labels = dict.fromkeys({thing.name for thing in written} - {odd}, 1)
    size = (100, 80)
    with tempfile.TemporaryDirectory() as temporary:
        dataset = write(Path(temporary), {"a": data.draw(xml(written, size))}, [], size)
        annotation, problems = VocDataset(dataset).annotation("a", labels, "voc")
    assert annotation is None
    refused = [problem.what for problem in problems if problem.action == "refuse"]
    assert refused == [f"class {odd} is not in the class list"] * sum(thing.name == odd for thing in written)
