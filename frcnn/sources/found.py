"""What the readers of foreign layouts share: the files of a folder, and what they find there.

The name of a picture in a foreign file is looked up among the files of the folder, so that none leads outside.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

from frcnn.data.voc.annotation import CONTINUOUS, CORNERS
from frcnn.data.voc.dataset import EXTENSIONS
from frcnn.data.voc.inside import bad_name, read_text, require_plain, walk
from frcnn.errors import UserError
from frcnn.messages import shorten

SPLITS = {
    "train": "train", "training": "train", "trainval": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
PICTURE_FOLDERS = ("jpegimages", "images")
MOST_BYTES = 2 << 30  # of one file; COCO's largest has 0.5 GB
Box = tuple[float, float, float, float]  # xyxy, continuous pixels


@dataclass(frozen=True)
class Object:
    """One object: class name, box, and whether it is marked as difficult."""

    name: str
    box: Box
    difficult: bool = False


@dataclass(frozen=True)
class Picture:
    """The class names that a picture shows, and its annotation: a file in VOC's format or the text of one."""

    names: frozenset[str]
    annotation: Path | str


@dataclass
class Found:
    """A dataset in a foreign layout.

    Attributes:
        layout: its name, for messages.
        root: the folder.
        pictures: by path relative to the folder.
        splits: of train, val and test those that the layout names.
        class_names: in order; empty: those of the annotations, sorted.
        notes: what was dropped or guessed -> how often.
        missing: the places that name a picture which is not there.
    """

    layout: str
    root: Path
    pictures: dict[PurePosixPath, Picture] = field(default_factory=dict)
    splits: dict[str, list[PurePosixPath]] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    missing: list[str] = field(default_factory=list)

    def add(self, path: PurePosixPath, picture: Picture, split: str) -> None:
        """Add a picture to a split, or with an empty name to none.

        Raises:
            UserError: it is there already, with other objects.
        """
        if self.pictures.setdefault(path, picture) != picture:
            raise UserError(f"{self.root / path}: is annotated twice, differently; remove one of the annotations")
        if split:
            self.splits.setdefault(split, []).append(path)


class Files:
    """The files that `walk` finds at or below a folder, as paths relative to it, sorted.

    Attributes:
        root: the folder.
        pictures: where one folder is named JPEGImages only those in such folders.
        folders: all folders.
    """

    def __init__(self, root: Path) -> None:
        """List the files."""
        self.root = root
        self._by_stem: dict[str, dict[str, PurePosixPath]] = {}
        self.folders, found = set(), []
        for parent, _, names in walk(root):
            folder = PurePosixPath(parent.relative_to(root).as_posix())
            self.folders.add(folder)
            found += [folder / name for name in names]
        for path in sorted(found):
            self._by_stem.setdefault(path.suffix.lower(), {})[path.with_suffix("").as_posix()] = path
        pictures = self.of(*EXTENSIONS)
        self.pictures = [path for path in pictures if "JPEGImages" in path.parts] or pictures
        self._by_name: dict[str, list[PurePosixPath]] = {}
        for path in self.pictures:
            self._by_name.setdefault(path.name, []).append(path)

    def of(self, *suffixes: str) -> list[PurePosixPath]:
        """Return the files with one of these suffixes."""
        return sorted(path for suffix in suffixes for path in self._by_stem.get(suffix, {}).values())

    def partner(self, picture: PurePosixPath, suffix: str, *folders: str) -> PurePosixPath | None:
        """Return the file that belongs to a picture: in one of `folders` parallel to that of pictures, or beside it."""
        stem = picture.with_suffix("")
        places = [stem]
        for i in reversed(range(len(stem.parts) - 1)):
            if stem.parts[i].lower() in PICTURE_FOLDERS:
                places[:0] = [PurePosixPath(*stem.parts[:i], name, *stem.parts[i + 1 :]) for name in folders]
                break
        known = self._by_stem.get(suffix, {})
        return next((known[place.as_posix()] for place in places if place.as_posix() in known), None)

    def find(self, name: str, near: PurePosixPath) -> PurePosixPath | None:
        """Return the picture that a foreign file, `near`, names: the one whose path ends most alike.

        Of equals those count whose folder the name of that file names, as train2017 in instances_train2017.json, then
        those below its folder.

        Raises:
            UserError: several are left.
        """
        parts = parts_of(name)
        candidates = self._by_name.get(parts[-1], []) if parts else []
        words = set(re.split("[^A-Za-z0-9]+", near.stem))
        for start in range(len(parts)):
            fitting = [path for path in candidates if path.parts[start - len(parts) :] == parts[start:]]
            fitting = [path for path in fitting if words & set(path.parts[:-1])] or fitting
            fitting = [path for path in fitting if path.is_relative_to(near.parent)] or fitting
            if len(fitting) > 1:
                raise UserError(
                    f"{self.root / near}: {shorten(name)} means {fitting[0]} or {fitting[1]}; name it with its folder"
                )
            if fitting:
                return fitting[0]
        return None

    def read_bytes(self, path: PurePosixPath) -> bytes:
        """Return the content of a file.

        Raises:
            UserError: it is too long or no plain file.
        """
        return self._checked(path).read_bytes()

    def read(self, path: PurePosixPath) -> str:
        """Return the text of a file; errors as `read_bytes`, and where it is no text."""
        return read_text(self._checked(path))

    def _checked(self, path: PurePosixPath) -> Path:
        file = self.root / path
        require_plain(file)
        if file.stat().st_size > MOST_BYTES:
            raise UserError(f"{file}: larger than {MOST_BYTES >> 30} GiB; split it")
        return file


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a path in a foreign file without those that lead upwards."""
    return tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/", "//"))


def split_of(path: PurePosixPath) -> str:
    """Return train, val or test by the nearest folder of that name (valid and train2017, too), or nothing."""
    return next(filter(None, (SPLITS.get(part.lower().rstrip("0123456789")) for part in path.parts[-2::-1])), "")


def class_name(value: object, where: str) -> str:
    """Return the name of a class with single blanks.

    Raises:
        UserError: with `where`: no text or number, empty, too long, or with control characters.
    """
    name = " ".join(str(value).split()) if type(value) in (str, int, float) else ""
    if not name:
        raise UserError(f"{where}: class name {shorten(value)} is no text; put the name in quotes")
    if what := bad_name(name):
        raise UserError(f"{where}: class {what}; rename it")
    return name


def converted(name: str, size: tuple[object, object], objects: Sequence[Object]) -> Picture:
    """Return a picture with objects whose boxes are written as they are; size: (width, height), if they are stated."""
    lines = [f"<annotation {CONTINUOUS}>", f"  <filename>{escape(name)}</filename>"]
    if all(type(side) is int for side in size):
        lines.append(f"  <size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for each in objects:
        corners = "".join(f"<{key}>{value!r}</{key}>" for key, value in zip(CORNERS, each.box, strict=True))
        lines += ["  <object>", f"    <name>{escape(each.name)}</name>"]
        lines += [f"    <difficult>{int(each.difficult)}</difficult>", f"    <bndbox>{corners}</bndbox>", "  </object>"]
    return Picture(frozenset(each.name for each in objects), "\n".join([*lines, "</annotation>", ""]))
