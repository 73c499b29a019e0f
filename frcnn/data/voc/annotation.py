"""Read one annotation: ID.xml and its picture, with everything that is wrong with them.

n is the number of objects of the picture, C the number of classes without background.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from frcnn.data.voc import problems as kinds
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.data.voc.pictures import picture_size, stored_size
from frcnn.data.voc.problems import Kind, Problem
from frcnn.errors import UserError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
Report = Callable[[Kind, str], None]


@dataclass(frozen=True)
class Annotation:
    """The objects of one picture.

    Attributes:
        image_id: name in the image set.
        path: the picture.
        width, height: pixels of the original picture, upright.
        boxes: (n, 4) float32 xyxy, pixels of the original picture, clipped to it, none empty.
        labels: (n,) int64, 1..C.
        difficult: (n,) bool.
    """

    image_id: str
    path: Path
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


def parse_annotation(
    dataset: Path, image_id: str, pictures: list[Path], labels: dict[str, int], box_convention: str
) -> tuple[Annotation | None, list[Problem]]:
    """Read one annotation with everything that is wrong with it; None if any of it is to be refused.

    Args:
        dataset: folder in VOC layout.
        image_id: name in the image set.
        pictures: its pictures; the first is taken.
        labels: class name -> label 1..C.
        box_convention: voc, continuous or reference.
    """
    problems: list[Problem] = []
    file = f"Annotations/{image_id}.xml"
    root = parse_xml(dataset, file, problems)
    size = _picture_size(dataset, image_id, pictures, problems)
    if root is None or size is None:
        return None, problems
    _compare_size(root, file, size, pictures[0], problems)
    objects = []
    for number, element in enumerate(root.findall("object"), 1):
        name = read_class_name(element)
        where = f"object {number} ({name})" if name else f"object {number}"
        report = partial(_add, problems, file, where)
        box = _read_box(element, box_convention, size, report)
        if name not in labels:
            what = f"class {name} is not in the class list" if name else "no <name>"
            report(kinds.UNKNOWN_CLASS if name else kinds.BAD_OBJECT, what)
        elif box is not None:
            objects.append((box, labels[name], _read_difficult(element, report)))
    if any(problem.action == "refuse" for problem in problems):
        return None, problems
    boxes, classes, difficult = ([item[i] for item in objects] for i in range(3))
    annotation = Annotation(
        image_id,
        pictures[0],
        *size,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(difficult, bool),
    )
    return annotation, problems


def _add(problems: list[Problem], file: str, where: str, kind: Kind, what: str) -> None:
    problems.append(Problem(file, where, what, kind))


def parse_xml(dataset: Path, file: str, problems: list[Problem]) -> ET.Element | None:
    """Return the root element of an annotation, or None and a problem."""
    try:
        root = ET.parse(dataset / file).getroot()
        if root.tag == "annotation":
            return root
        _add(problems, file, "", kinds.BAD_XML, f"no VOC annotation: its root is <{root.tag}>, not <annotation>")
    except FileNotFoundError:
        _add(problems, file, "", kinds.NO_ANNOTATION, "no such annotation")
    except ET.ParseError as error:
        reason = str(error).partition(":")[0]
        _add(problems, file, f"line {error.position[0]}", kinds.BAD_XML, f"malformed XML: {reason}")
    except (OSError, ValueError) as error:  # ValueError: an encoding that is not known
        _add(problems, file, "", kinds.BAD_XML, f"cannot be read: {error}")
    return None


def _picture_size(dataset: Path, image_id: str, paths: list[Path], problems: list[Problem]) -> tuple[int, int] | None:
    """Return (width, height) of the upright picture, or None and a problem."""
    if not paths:
        _add(problems, f"JPEGImages/{image_id}.*", "", kinds.NO_PICTURE, "no such picture")
        return None
    file = paths[0].relative_to(dataset).as_posix()
    if len(paths) > 1:
        others = ", ".join(path.name for path in paths[1:])
        _add(problems, file, "", kinds.TWO_PICTURES, f"used; not used: {others}")
    try:
        return picture_size(paths[0])
    except UserError as error:
        _add(problems, file, "", kinds.BAD_PICTURE, bare_reason(error, paths[0]))
        return None


def bare_reason(error: UserError, path: Path) -> str:
    """Return what a message about `path` says, without the path and the remedy."""
    return str(error).removeprefix(f"{path}: ").rpartition(";")[0] or str(error)


def _compare_size(root: ET.Element, file: str, size: tuple[int, int], path: Path, problems: list[Problem]) -> None:
    texts = [root.findtext(f"size/{key}") for key in ("width", "height")]
    try:
        written = tuple(round(float(text or "")) for text in texts)
    except (ValueError, OverflowError):
        return  # absent or not numbers: nothing is claimed
    if written == size:
        return
    what = f"size says {written[0]} x {written[1]}, the picture is {size[0]} x {size[1]}, which is used"
    if written == stored_size(path):
        what += "; its EXIF data turn it upright: were the boxes drawn on the upright picture?"
    elif written == size[::-1]:
        what += "; width and height look exchanged"
    _add(problems, file, "size", kinds.WRONG_SIZE, what)


def _read_box(element: ET.Element, convention: str, size: tuple[int, int], report: Report) -> np.ndarray | None:
    """Return (4,) float32 xyxy clipped to the picture, or None where the object has none that counts."""
    texts = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]
    for corner, text in zip(CORNERS, texts, strict=True):
        if not _is_number(text):
            report(kinds.BAD_OBJECT, f"{corner} is {text.strip()!r}, not a number" if text else f"no bndbox/{corner}")
            return None
    values = [float(text or "") for text in texts]
    written = "box " + ", ".join(f"{value:g}" for value in values)
    box = BOX_CONVENTIONS[convention].read(np.array(values))
    if box[2] <= box[0] or box[3] <= box[1]:
        report(kinds.EMPTY_BOX, f"{written} has no extent")
        return None
    limits = np.array([*size, *size], np.float64)
    clipped = np.clip(box, 0, limits).astype(np.float32)
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        report(kinds.BOX_OUTSIDE, f"{written} lies outside the picture of {size[0]} x {size[1]}")
        return None
    if (box < 0).any() or (box > limits).any():
        beyond = max(-box.min(), (box - limits).max())
        report(kinds.BOX_ACROSS, f"{written} crosses the border of {size[0]} x {size[1]} by {beyond:g} px")
    return clipped


def _is_number(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False


def read_class_name(element: ET.Element) -> str:
    """Return the class of an object; what separates its words, line breaks too, becomes one blank."""
    return " ".join((element.findtext("name") or "").split())


def _read_difficult(element: ET.Element, report: Report) -> bool:
    text = (element.findtext("difficult") or "").strip().lower()
    if text not in FLAGS:
        report(kinds.BAD_DIFFICULT, f"difficult is {text!r} and is read as 0")
    return FLAGS.get(text, False)
