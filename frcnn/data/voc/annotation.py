"""Read one annotation: ID.xml and its picture, with everything that is wrong with them.

n is the number of objects of the picture, C the number of classes without background.
"""

import glob
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from frcnn.data.voc import problems as kinds
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.data.voc.inside import why_refused
from frcnn.data.voc.pictures import picture_size, stored_size
from frcnn.data.voc.problems import Kind, Problem
from frcnn.errors import UserError
from frcnn.messages import cut

CORNERS = ("xmin", "ymin", "xmax", "ymax")
CONTINUOUS = 'boxes="continuous"'  # of <annotation>: its boxes are continuous pixels, whatever the box convention
FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
MOST_BYTES = 16 << 20
ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?\sencoding\s*=\s*["']([\w.-]+)["']""")
OF_EXPAT = {"utf-8", "utf-16", "iso-8859-1", "us-ascii"}
# An encoding in which these mean something else is no encoding of XML here: UTF-7, escapes of Python, Internet names.
SAME_IN_ALL = bytes(range(0x20, 0x7F)).replace(b"\\", rb"\u0041") + b".xn--nxa"
BOM = b"\xef\xbb\xbf"
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
    dataset: Path, image_id: str, paths: tuple[Path, list[Path]], labels: dict[str, int], box_convention: str
) -> tuple[Annotation | None, list[Problem]]:
    """Read one annotation with everything that is wrong with it; None if any of it is to be refused.

    Args:
        dataset: folder in VOC layout.
        image_id: name in the image set.
        paths: its annotation, and its pictures, of which the first is taken.
        labels: class name -> label 1..C.
        box_convention: voc, continuous or reference; of files that do not state theirs, as converted ones do.
    """
    problems: list[Problem] = []
    path, pictures = paths
    file = path.relative_to(dataset).as_posix()
    root = parse_xml(dataset, path, problems)
    size = _picture_size(dataset, image_id, pictures, problems)
    if root is None or size is None:
        return None, problems
    _compare_size(root, file, size, pictures[0], problems)
    read = partial(BOX_CONVENTIONS[box_convention].read, continuous=root.get("boxes") == "continuous")
    objects = []
    owned = {box for tag in ("object", "part") for element in root.iter(tag) for box in element.iter("bndbox")}
    if alone := sum(box not in owned for box in root.iter("bndbox")):
        _add(problems, file, "", kinds.BAD_OBJECT, f"<bndbox> outside of any <object>: {alone}")
    for number, element in enumerate(root.iter("object"), 1):
        name = read_class_name(element)
        where = f"object {number} ({cut(name)})" if name else f"object {number}"
        report = partial(_add, problems, file, where)
        box = _read_box(element, read, size, report)
        if name not in labels:
            what = f"class {cut(name)} is not in the class list" if name else "no <name>"
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


def parse_xml(dataset: Path, path: Path, problems: list[Problem]) -> ET.Element | None:
    """Return the root element of an annotation, with tags in lower case, or None and a problem."""
    file = path.relative_to(dataset).as_posix()
    if reason := why_refused(path):
        _add(problems, file, "", kinds.BAD_XML, reason)
        return None
    try:
        root = ET.fromstring(_read_text(path))  # noqa: S314, neither entities nor large files come here
        for element in root.iter():
            element.tag = element.tag.lower()
        if root.tag == "annotation":
            return root
        _add(problems, file, "", kinds.BAD_XML, f"no VOC annotation: its root is <{cut(root.tag)}>, not <annotation>")
    except FileNotFoundError:
        _add(problems, file, "", kinds.NO_ANNOTATION, "no such annotation")
    except ET.ParseError as error:
        reason = str(error).partition(":")[0]
        _add(problems, file, f"line {error.position[0]}", kinds.BAD_XML, f"malformed XML: {reason}")
    except LookupError:
        _add(problems, file, "", kinds.BAD_XML, "cannot be read: its encoding is not known; save it as UTF-8")
    except (OSError, ValueError) as error:
        _add(problems, file, "", kinds.BAD_XML, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None


def _read_text(path: Path) -> str | bytes:
    """Return what the XML parser is given: bytes in an encoding that it knows, else text.

    It would misread some of the encodings that it asks Python for.

    Raises:
        OSError: the file cannot be read.
        ValueError, LookupError: too large, entities of its own, or an encoding that is not known or does not fit.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"larger than {MOST_BYTES >> 20} MiB")
    declared = ENCODING.match(content)
    name = declared[1].decode().lower() if declared else "utf-8"
    text: str | bytes = content
    if content.startswith(BOM) and name not in ("utf-8", "utf8"):
        raise ValueError(f"it starts as UTF-8 and declares {name}; save it as UTF-8")
    if name not in OF_EXPAT:
        if SAME_IN_ALL.decode(name) != SAME_IN_ALL.decode():
            raise ValueError(f"encoding {name}; save it as UTF-8")
        text = content.decode(name)
    # UTF-16 has a zero in each of these letters.
    if "<!ENTITY" in text if isinstance(text, str) else b"<!ENTITY" in text.replace(b"\0", b""):
        raise ValueError("it defines entities")
    return text


def _picture_size(dataset: Path, image_id: str, paths: list[Path], problems: list[Problem]) -> tuple[int, int] | None:
    """Return (width, height) of the upright picture, or None and a problem."""
    if not paths:
        unread = sorted((dataset / "JPEGImages").glob(f"{glob.escape(image_id)}.*"))
        but = f", but {unread[0].name}, which is not read: convert it to JPEG or PNG" if unread else ""
        _add(problems, f"JPEGImages/{image_id}.*", "", kinds.NO_PICTURE, f"no such picture{but}")
        return None
    file = paths[0].relative_to(dataset).as_posix()
    if len(paths) > 1:
        others = ", ".join(path.name for path in paths[1:])
        _add(problems, file, "", kinds.TWO_PICTURES, f"used; not used: {others}")
    if reason := why_refused(paths[0]):
        _add(problems, file, "", kinds.BAD_PICTURE, reason)
        return None
    try:
        return picture_size(paths[0])
    except UserError as error:
        _add(problems, file, "", kinds.BAD_PICTURE, bare_reason(error, paths[0]))
        return None


def bare_reason(error: UserError, path: Path) -> str:
    """Return what a message about `path` says, without the path and the remedy."""
    reason = str(error).removeprefix(f"{path}: ")
    return reason.rpartition(";")[0] or reason


def _compare_size(root: ET.Element, file: str, size: tuple[int, int], path: Path, problems: list[Problem]) -> None:
    texts = [root.findtext(f"size/{key}") for key in ("width", "height")]
    try:
        written = tuple(round(_number(text)) for text in texts)
    except (ValueError, OverflowError):
        return  # absent or not numbers: nothing is claimed
    if written == size:
        return
    what = f"size says {written[0]:.9g} x {written[1]:.9g}, the picture is {size[0]} x {size[1]}, which is used"
    if written == stored_size(path):
        what += "; its EXIF data turn it upright: were the boxes drawn on the upright picture?"
    elif written == size[::-1]:
        what += "; width and height look exchanged"
    _add(problems, file, "size", kinds.WRONG_SIZE, what)


def _read_box(
    element: ET.Element, read: Callable[[np.ndarray], np.ndarray], size: tuple[int, int], report: Report
) -> np.ndarray | None:
    """Return (4,) float32 xyxy clipped to the picture, or None where the object has none that counts."""
    texts = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]
    for corner, text in zip(CORNERS, texts, strict=True):
        if not _is_number(text):
            report(
                kinds.BAD_OBJECT, f"{corner} is {cut(text.strip())!r}, not a number" if text else f"no bndbox/{corner}"
            )
            return None
    values = [_number(text) for text in texts]
    written = "box " + ", ".join(f"{value:g}" for value in values)
    box = read(np.array(values))
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


def _number(text: str | None) -> float:
    """Return the number that a text states; Python's float would take 1_0 for 10."""
    return float((text or "").replace("_", "x"))


def _is_number(text: str | None) -> bool:
    try:
        return math.isfinite(_number(text))
    except ValueError:
        return False


def read_class_name(element: ET.Element) -> str:
    """Return the class of an object; what separates its words, line breaks too, becomes one blank."""
    return " ".join((element.findtext("name") or "").split())


def _read_difficult(element: ET.Element, report: Report) -> bool:
    text = (element.findtext("difficult") or "").strip().lower()
    if text not in FLAGS:
        report(kinds.BAD_DIFFICULT, f"difficult is {cut(text)!r} and is read as 0")
    return FLAGS.get(text, False)
