"""Read COCO's instances: a JSON for all pictures or one per split.

Classes that no object has are dropped: such files often list all of COCO's eighty, or a group's name as class 0.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from frcnn.errors import UserError
from frcnn.messages import cut, shorten
from frcnn.sources.found import SPLITS, Box, Files, Found, Object, class_name, converted, split_of

KEYS = ("images", "annotations", "categories")
LARGEST = 1 << 24  # px
RUNS = re.compile("(?:[P-o]{0,6}[0-O])*")  # a compressed RLE; COCO's code would read beyond the end of another


def instance_files(files: Files) -> list[PurePosixPath]:
    """Return the JSON files that have pictures, objects and classes; of COCO's own only those named instances."""
    contents = ((path, files.read_bytes(path)) for path in files.of(".json"))
    found = [path for path, content in contents if all(f'"{key}"'.encode() in content for key in KEYS)]
    return [path for path in found if path.name.startswith("instances")] or found


def read_instances(files: Files, paths: list[PurePosixPath]) -> Found:
    """Read all files; classes of one name are one class.

    Raises:
        UserError: the first entry that is not as COCO defines it, or no picture is there.
    """
    found = Found("COCO", files.root)
    listed: dict[str, None] = {}
    for path in paths:
        _read_file(files, path, found, listed)
    used = {name for picture in found.pictures.values() for name in picture.names}
    if not found.pictures:
        raise UserError(f"{files.root / paths[0]}: none of its pictures is in {files.root}; add them")
    found.class_names = [name for name in listed if name in used]
    found.notes["classes without an object, left out"] += len(listed) - len(found.class_names)
    found.notes["pictures that no JSON lists, left out"] += len(set(files.pictures) - set(found.pictures))
    return found


def _read_file(files: Files, path: PurePosixPath, found: Found, listed: dict[str, None]) -> None:
    tree, file = _load(files, path), str(files.root / path)
    names = {_id_of(each, "id", where): class_name(each.get("name"), where)
             for each, where in _entries(tree, "categories", file)}  # fmt: skip
    listed |= dict.fromkeys(names.values())
    images: dict[Any, dict[str, Any]] = {}
    for each, where in _entries(tree, "images", file):
        key = _id_of(each, "id", where)
        if key in images or not isinstance(each.get("file_name"), str):
            raise UserError(f"{where}: {'its id occurs twice' if key in images else 'no file_name'}; correct the entry")
        images[key] = each
    objects: dict[Any, list[Object]] = {key: [] for key in images}
    for each, where in _entries(tree, "annotations", file):
        key, category = _id_of(each, "image_id", where), _id_of(each, "category_id", where)
        if category not in names:
            raise UserError(f"{where}: category_id {shorten(category)} is not among the categories; add it there")
        box = _read_box(each, where)
        if key not in images:
            found.notes["annotations without a picture, left out"] += 1
        elif box is None or box[2] <= box[0] or box[3] <= box[1]:
            found.notes["boxes without extent, left out"] += 1
        else:
            objects[key].append(Object(names[category], box, each.get("iscrowd") in (1, True)))
    split = next((SPLITS[word] for word in re.split("[^a-z]+", path.stem.lower()) if word in SPLITS), split_of(path))
    for key, image in images.items():
        if (picture := files.find(image["file_name"], path)) is None:
            found.missing.append(f"{path}: id {shorten(key)} ({cut(image['file_name'])})")
            continue
        found.notes["pictures without an annotation, taken to show no object"] += not objects[key]
        width, height = (image.get(side) for side in ("width", "height"))
        found.add(picture, converted(picture.name, (width, height), objects[key]), split or split_of(picture))


def _load(files: Files, path: PurePosixPath) -> dict[str, Any]:
    try:
        tree = json.loads(files.read(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{files.root / path}: not JSON ({str(error).splitlines()[0]}); write it again") from error
    if not isinstance(tree, dict):
        raise UserError(f"{files.root / path}: no object with {', '.join(KEYS)}, as COCO's instances are")
    return tree


def _entries(tree: dict[str, Any], key: str, file: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the entries of a list, each with its place for messages."""
    if not isinstance(entries := tree.get(key), list):
        raise UserError(f"{file}: {key} is no list; write COCO's instances there")
    for number, entry in enumerate(entries, 1):
        where = f"{file}: {key}: entry {number}"
        if not isinstance(entry, dict):
            raise UserError(f"{where}: {shorten(entry)} is no object; correct the entry")
        yield entry, where + (f" (id {shorten(entry['id'])})" if "id" in entry else "")


def _id_of(entry: dict[str, Any], key: str, where: str) -> Any:
    value = entry.get(key)
    if type(value) not in (str, int, float):
        raise UserError(f"{where}: {key} is {shorten(value)}; write a number or a text")
    return value


def _read_box(entry: dict[str, Any], where: str) -> Box | None:
    """Return an object's box, by its segmentation where it has no bbox; None where that is empty."""
    if bbox := entry.get("bbox"):
        x, y, width, height = _numbers(bbox, where, "bbox", "[x, y, width, height]", 4)
        return x, y, x + width, y + height
    shape = entry.get("segmentation")
    if isinstance(shape, dict):
        return _box_of_runs(shape, where)
    if not isinstance(shape, list):
        raise UserError(f"{where}: neither bbox nor segmentation; write a bbox")
    points = [
        value
        for polygon in (shape if shape and isinstance(shape[0], list) else [shape])
        for value in _numbers(polygon, where, "segmentation", "x and y of each point", None)
    ]
    return (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])) if points else None


def _numbers(values: Any, where: str, key: str, wanted: str, count: int | None) -> list[float]:
    """Return finite numbers, `count` or an even number of them."""
    good = isinstance(values, list) and all(type(each) in (int, float) and abs(each) <= LARGEST for each in values)
    if not good or (len(values) % 2 if count is None else len(values) != count):
        raise UserError(f"{where}: {key} is {shorten(values)}; write {wanted} in finite numbers")
    return [float(each) for each in values]


def _box_of_runs(shape: dict[str, Any], where: str) -> Box:
    """Return the extent of an RLE."""
    from faster_coco_eval.core import mask  # takes a while

    size, counts = (shape.get(key) for key in ("size", "counts"))
    whole = isinstance(size, list) and len(size) == 2 and all(type(n) is int and 0 < n <= LARGEST for n in size)
    if whole and _are_runs(counts, math.prod(size or ())):
        counts = mask.frPyObjects({"size": size, "counts": counts}, *size or ())["counts"].decode()
    if not whole or not isinstance(counts, str) or not RUNS.fullmatch(counts):
        raise UserError(f"{where}: segmentation {shorten(shape)} is no RLE; write size and counts, or a bbox")
    x, y, width, height = mask.toBbox({"size": size, "counts": counts.encode()}).tolist()
    return x, y, x + width, y + height


def _are_runs(counts: Any, pixels: int) -> bool:
    """Tell whether counts are those of an uncompressed RLE of so many pixels."""
    good = isinstance(counts, list) and all(type(n) is int and n >= 0 for n in counts)
    return good and sum(counts) == pixels < 1 << 32
