"""Read one annotation: ID.xml and its picture, with everything that is wrong with them.

Here and nowhere else written coordinates become the project's boxes: xyxy, pixels, continuous.
n is the number of objects of the picture, C the number of classes without background.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from frcnn.data.voc import problems as kinds
from frcnn.data.voc.pictures import picture_size, stored_size
from frcnn.data.voc.problems import Kind, Problem
from frcnn.errors import UserError

# What each convention adds to xmin, ymin, xmax, ymax as written (data.box_convention in params.yaml).
OFFSETS = {"voc": (-1, -1, 0, 0), "continuous": (0, 0, 0, 0), "reference": (-1, -1, -1, -1)}
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


def read_annotation(
    dataset: Path, image_id: str, pictures: dict[str, list[Path]], labels: dict[str, int], box_convention: str
) -> tuple[Annotation | None, list[Problem]]:
    """Read one annotation with everything that is wrong with it; None if any of it is to be refused.

    Args:
        dataset: folder in VOC layout.
        image_id: name in the image set.
        pictures: as returned by `find_pictures`.
        labels: class name -> label 1..C.
        box_convention: voc, continuous or reference.
    """
    found: list[Problem] = []
    file = f"Annotations/{image_id}.xml"
    root = _parse(dataset, file, found)
    size = _picture(dataset, image_id, pictures, found)
    if root is None or size is None:
        return None, found
    path = pictures[image_id][0]
    _compare_size(root, file, size, path, found)
    objects = []
    for number, element in enumerate(root.findall("object"), 1):
        name = _read_name(element)
        where = f"object {number} ({name})" if name else f"object {number}"
        box = _read_box(element, box_convention, size, partial(_add, found, file, where))
        if name not in labels:
            what = f"class {name} is not in the class list" if name else "no <name>"
            _add(found, file, where, kinds.UNKNOWN_CLASS if name else kinds.BAD_OBJECT, what)
        elif box is not None:
            objects.append((box, labels[name], _read_difficult(element, partial(_add, found, file, where))))
    if any(problem.action == "refuse" for problem in found):
        return None, found
    boxes, classes, difficult = ([item[i] for item in objects] for i in range(3))
    annotation = Annotation(
        image_id,
        path,
        *size,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
        np.array(difficult, bool),
    )
    return annotation, found


def class_names_found(dataset: Path, image_ids: Iterable[str]) -> list[str]:
    """Return the sorted names of the objects in these pictures' annotations, passing over files that cannot be read."""
    names = set()
    for image_id in image_ids:
        root = _parse(Path(dataset), f"Annotations/{image_id}.xml", [])
        if root is not None:
            names |= {_read_name(element) for element in root.findall("object")}
    return sorted(names - {""})


def _add(found: list[Problem], file: str, where: str, kind: Kind, what: str) -> None:
    found.append(Problem(file, where, what, kind))


def _parse(dataset: Path, file: str, found: list[Problem]) -> ET.Element | None:
    try:
        root = ET.parse(dataset / file).getroot()
        if root.tag == "annotation":
            return root
        _add(found, file, "", kinds.BAD_XML, f"no VOC annotation: its root is <{root.tag}>, not <annotation>")
    except FileNotFoundError:
        _add(found, file, "", kinds.NO_ANNOTATION, "no such annotation")
    except ET.ParseError as error:
        reason = str(error).partition(":")[0]
        _add(found, file, f"line {error.position[0]}", kinds.BAD_XML, f"malformed XML: {reason}")
    except (OSError, ValueError) as error:  # ValueError: an encoding that is not known
        _add(found, file, "", kinds.BAD_XML, f"cannot be read: {error}")
    return None


def _picture(
    dataset: Path, image_id: str, pictures: dict[str, list[Path]], found: list[Problem]
) -> tuple[int, int] | None:
    """Return (width, height) of the upright picture, or None and a problem."""
    paths = pictures.get(image_id, [])
    if not paths:
        _add(found, f"JPEGImages/{image_id}.*", "", kinds.NO_PICTURE, "no such picture")
        return None
    file = paths[0].relative_to(dataset).as_posix()
    if len(paths) > 1:
        others = ", ".join(path.name for path in paths[1:])
        _add(found, file, "", kinds.TWO_PICTURES, f"taken; left aside: {others}")
    try:
        return picture_size(paths[0])
    except UserError as error:
        _add(found, file, "", kinds.BAD_PICTURE, bare_reason(error, paths[0]))
        return None


def bare_reason(error: UserError, path: Path) -> str:
    """Return what a message about `path` says, without the path and the remedy."""
    return str(error).removeprefix(f"{path}: ").rpartition(";")[0] or str(error)


def _compare_size(root: ET.Element, file: str, size: tuple[int, int], path: Path, found: list[Problem]) -> None:
    texts = [root.findtext(f"size/{key}") for key in ("width", "height")]
    try:
        written = tuple(round(float(text or "")) for text in texts)
    except (ValueError, OverflowError):
        return  # absent or not numbers: nothing is claimed
    if written == size:
        return
    what = f"size says {written[0]} x {written[1]}, the picture is {size[0]} x {size[1]} and is believed"
    if written == stored_size(path):
        what += "; its EXIF data turn it upright: were the boxes drawn on the upright picture?"
    elif written == size[::-1]:
        what += "; width and height look exchanged"
    _add(found, file, "size", kinds.WRONG_SIZE, what)


def _read_box(element: ET.Element, convention: str, size: tuple[int, int], report: Report) -> np.ndarray | None:
    """Return (4,) float32 xyxy clipped to the picture, or None where the object has none that counts."""
    texts = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]
    for corner, text in zip(CORNERS, texts, strict=True):
        if not _is_number(text):
            report(kinds.BAD_OBJECT, f"{corner} is {text.strip()!r}, not a number" if text else f"no bndbox/{corner}")
            return None
    values = [float(text or "") for text in texts]
    written = "box " + ", ".join(f"{value:g}" for value in values)
    box = np.array(values) + OFFSETS[convention]
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


def _read_name(element: ET.Element) -> str:
    """Return the class of an object; what separates its words, line breaks too, becomes one blank."""
    return " ".join((element.findtext("name") or "").split())


def _read_difficult(element: ET.Element, report: Report) -> bool:
    text = (element.findtext("difficult") or "").strip().lower()
    if text not in FLAGS:
        report(kinds.BAD_DIFFICULT, f"difficult is {text!r} and is read as 0")
    return FLAGS.get(text, False)
