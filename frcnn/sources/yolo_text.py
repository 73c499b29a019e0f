"""Read YOLO's labels: a text file per picture, `class cx cy width height` a line, in shares of the picture's sides.

A line may hold a polygon, `class x1 y1 x2 y2 x3 y3 ...`, whose extent is the box.
"""

import math
import re
from pathlib import PurePosixPath
from typing import Any

from frcnn.data.voc.inside import require_plain
from frcnn.data.voc.pictures import picture_size
from frcnn.errors import UserError
from frcnn.messages import cut, shorten
from frcnn.param_file import ForeignLoader, parse_yaml
from frcnn.sources.found import Box, Files, Found, Object, Picture, class_name, converted, parts_of, split_of

NAME_LISTS = ("classes.txt", "obj.names")
NAMES = re.compile(rb"^names\s*:", re.MULTILINE)
MOST_BYTES = 1 << 18  # of a data.yaml
FARTHEST = 1.5  # shares beyond this are pixels


def name_files(files: Files) -> list[PurePosixPath]:
    """Return each data.yaml, whatever its name, else lists of class names if a picture has a label file."""
    yamls = [
        path
        for path in files.of(".yaml", ".yml")
        if (files.root / path).stat().st_size <= MOST_BYTES and NAMES.search(files.read_bytes(path))
    ]
    lists = [path for path in files.of(".txt", ".names") if path.name in NAME_LISTS]
    return yamls or (lists if any(files.partner(picture, ".txt", "labels") for picture in files.pictures) else [])


def read_labels(files: Files, paths: list[PurePosixPath]) -> Found:
    """Read the labels of all pictures that data.yaml names, or of all; all classes are kept.

    Raises:
        UserError: the first line that is no label, no or several data.yaml, or nothing that it names is there.
    """
    found = Found("YOLO", files.root)
    tree: dict[str, Any] = {}
    if paths[0].suffix.lower() in (".yaml", ".yml"):
        tree = parse_yaml(files.read(paths[0]), str(files.root / paths[0]), ForeignLoader)
        if not isinstance(tree, dict):
            raise UserError(f"{files.root / paths[0]}: no mapping; write train, val and names")
    texts = {files.read(path) for path in paths}
    if len(texts) > 1:
        raise UserError(f"{files.root}: {paths[0]} and {paths[1]} name classes; keep one, or name a folder inside")
    names = _names(tree.get("names") if tree else texts.pop().strip().split("\n"), str(files.root / paths[0]))
    found.class_names = list(dict.fromkeys(names))
    splits = _splits(files, paths[0], tree, found) if tree else {}
    used = set()
    for split, pictures in (splits or {"": files.pictures}).items():
        for path in pictures:
            labels = files.partner(path, ".txt", "labels")
            used.add(labels)
            picture = _read_picture(files, path, labels, names, "kpt_shape" in tree, found)
            found.add(path, picture, split or split_of(path))
    folders = {path.parent for path in used if path}
    left = [path for path in files.of(".txt") if path not in used and path.parent in folders]
    found.notes["label files without a picture, left out"] += sum(path.name not in NAME_LISTS for path in left)
    found.notes["pictures that data.yaml does not name, left out"] += len(set(files.pictures) - set(found.pictures))
    return found


def _names(value: Any, file: str) -> list[str]:
    """Return the class names by index; a map may have holes."""
    if isinstance(value, dict) and value and all(key.isdecimal() and len(key) < 6 for key in value):
        names = {int(key): name for key, name in value.items()}
        value = [names.get(index, f"class {index}") for index in range(max(names) + 1)]
    if not isinstance(value, list) or not value:
        raise UserError(f"{file}: names is {shorten(value)}; write the class names as a list or a map by number")
    return [class_name(name, file) for name in value]


def _splits(files: Files, yaml: PurePosixPath, tree: dict[str, Any], found: Found) -> dict[str, list[PurePosixPath]]:
    """Return the pictures of train, val and test as far as data.yaml names them and they are there."""
    splits: dict[str, list[PurePosixPath]] = {}
    base = tree.get("path") if isinstance(tree.get("path"), str) else ""
    wanted = {split: tree.get(key) for split, key in (("train", "train"), ("val", "val"), ("test", "test"))}
    wanted["val"] = wanted["val"] or tree.get("valid")
    for split, value in wanted.items():
        entries = value if isinstance(value, list) else [value] if value is not None else []
        for entry in entries:
            if not isinstance(entry, str):
                raise UserError(f"{files.root / yaml}: {split}: {shorten(entry)} is no path; write a folder or a list")
            pictures = _resolve(files, yaml, str(base), entry, found)
            if pictures is None:
                found.notes[f"folders or lists of data.yaml that are not there ({split}: {cut(entry)})"] += 1
            splits.setdefault(split, []).extend(pictures or [])
    if any(splits.values()) or not splits:
        return {split: list(dict.fromkeys(pictures)) for split, pictures in splits.items() if pictures}
    named = ", ".join(shorten(value) for value in wanted.values() if value)
    raise UserError(f"{files.root / yaml}: no picture in {named}; write paths relative to this file")


def _resolve(files: Files, yaml: PurePosixPath, base: str, entry: str, found: Found) -> list[PurePosixPath] | None:
    """Return the pictures of a folder or a list of names inside the dataset, wherever `path` may lead; None: neither.

    What is left of `path`, and of an absolute entry, is dropped until something is there.
    """
    first, rest = parts_of(base), parts_of(entry)
    if re.match("/|[A-Za-z]:", entry):
        first, rest = rest[:-1], rest[-1:]
    lists = set(files.of(".txt"))
    for start in range(len(first) + 1):
        for root in (yaml.parent, PurePosixPath()):
            place = root.joinpath(*first[start:], *rest)
            if place in files.folders:
                return [path for path in files.pictures if path.is_relative_to(place)]
            if place in lists:
                lines = [(n, line.strip()) for n, line in enumerate(files.read(place).splitlines(), 1) if line.strip()]
                named = [files.find(line, place) for _, line in lines]
                found.missing += [
                    f"{place}: line {n} ({cut(line)})" for (n, line), path in zip(lines, named, strict=True) if not path
                ]
                return [path for path in named if path]
    return None


def _read_picture(
    files: Files, path: PurePosixPath, labels: PurePosixPath | None, names: list[str], points: bool, found: Found
) -> Picture:
    file = files.root / path
    require_plain(file)
    size = picture_size(file)
    if labels is None:
        found.notes["pictures without a label file, taken to show no object"] += 1
        return converted(path.name, size, [])
    objects = []
    for number, line in enumerate(files.read(labels).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{files.root / labels}: line {number}"
        index, box = _read_line(line, where, points)
        if index >= len(names):
            raise UserError(f"{where}: class {index} of {len(names)}; classes count from 0, add its name")
        if box[2] > box[0] and box[3] > box[1]:
            x1, y1, x2, y2 = box
            objects.append(Object(names[index], (x1 * size[0], y1 * size[1], x2 * size[0], y2 * size[1])))
        else:
            found.notes["boxes without extent, left out"] += 1
    return converted(path.name, size, objects)


def _read_line(line: str, where: str, points: bool) -> tuple[int, Box]:
    """Return the index of the class and the box in shares; `points`: of a person's joints, which are not read."""
    try:
        index, *values = [float(text.replace("_", "x")) for text in line.split()]
    except ValueError as error:
        raise UserError(f"{where}: {shorten(line)} is not numbers; write class, cx, cy, width, height") from error
    values = values[:4] if points else values
    if not (index >= 0 and index.is_integer()) or len(values) < 4 or len(values) == 5 or len(values) % 2:
        raise UserError(f"{where}: {shorten(line)} is no label; write class, cx, cy, width, height")
    if not all(math.isfinite(value) and abs(value) <= FARTHEST for value in values):
        raise UserError(f"{where}: {shorten(line)} holds no shares; divide x by the picture's width, y by its height")
    if len(values) == 4:
        cx, cy, width, height = values
        return int(index), (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    return int(index), (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
