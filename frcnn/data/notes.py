"""What training takes and is still likely to be a mistake: leaks into the test split, odd boxes, odd classes."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from frcnn.data.lookalikes import Fingerprint, near_duplicates
from frcnn.data.resizing.sizes import box_scale
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import SETS
from frcnn.data.voc.problems import Kind, Problem
from frcnn.messages import cut
from frcnn.params import Data

LEAST_SIDE = 2  # px of the resized picture
MOST_AREA = 0.95  # of the picture
MOST_RATIO = 20  # of the sides
FEW = 10  # objects
DARK = 32  # of 256 levels, an eighth

IN_BOTH = Kind("image in training and test", "note", "take it out of one of the lists")
SAME_IN_BOTH = Kind("same picture in training and test", "note", "take it out of one of the lists")
ALIKE_IN_BOTH = Kind("look-alikes in training and test", "note", "keep copies and frames of a video in one list")
TWICE = Kind("same picture twice in a split", "note", "take one out of the list")
ALMOST_BLACK = Kind("almost black picture", "note", "spread its values over the whole range, or replace it")
REPEATED = Kind("repeated object", "note", "remove it: a detector can find only one of the two")
TINY = Kind("tiny box", "note", "mend or remove the object, or raise data.min_size")
NEARLY_ALL = Kind("box of nearly the whole picture", "note", "look at it with `frcnn check --render`")
NARROW = Kind("extremely narrow box", "note", "mend it, or add such shapes to anchors.anchor_ratios")
SPELLINGS = Kind("classes of nearly one name", "note", "give them one name")
UNTRAINED = Kind("class without objects in training", "note", "add pictures of it, or take it out of classes.txt")
RARE = Kind("class with few objects in training", "note", "add pictures of it")


class Split(NamedTuple):
    """A split as leaks are looked for in it: its name, its ids, and the fingerprints of those that have a picture."""

    name: str
    ids: Sequence[str]
    prints: Mapping[str, Fingerprint]


def object_notes(
    annotation: Annotation, numbers: Sequence[int], class_names: Sequence[str], data: Data
) -> list[Problem]:
    """Return what is odd about the objects of a picture; `numbers` are their places in its file."""
    size = annotation.width, annotation.height
    boxes = annotation.boxes.astype(np.float64)
    resized = boxes * box_scale(size, data)
    sides, small = boxes[:, 2:] - boxes[:, :2], resized[:, 2:] - resized[:, :2]
    shares = sides.prod(1) / (size[0] * size[1])
    first: dict[tuple[float, ...], int] = {}
    rows = zip(annotation.labels.tolist(), *boxes.T.tolist(), strict=True)
    known = [first.setdefault(row, i) for i, row in enumerate(rows)]
    tiny, narrow = small.min(1) < LEAST_SIDE, sides.max(1) > MOST_RATIO * sides.min(1)
    rules: list[tuple[Kind, np.ndarray, Callable[[int], str]]] = [
        (REPEATED, np.array(known) != np.arange(len(known)), lambda i: f"repeats object {numbers[known[i]]}"),
        (TINY, tiny, lambda i: "{:.2g} x {:.2g} px in the resized picture".format(*small[i])),
        (NARROW, narrow & ~tiny, lambda i: "{:g} x {:g} px".format(*sides[i])),
        (NEARLY_ALL, shares >= MOST_AREA, lambda i: f"covers {shares[i]:.0%} of the picture"),
    ]
    file = f"Annotations/{annotation.image_id}.xml"
    return [
        Problem(file, f"object {numbers[i]} ({cut(class_names[annotation.labels[i] - 1])})", describe(i), kind)
        for kind, chosen, describe in rules
        for i in np.flatnonzero(chosen).tolist()
    ]


def darkness_note(file: str, picture: Image.Image, levels: tuple[int, int] | None) -> Problem | None:
    """Return a note on an RGB picture without a value of `DARK` or more, as of 12 bits in a file of 16.

    Args:
        file: its path.
        picture: as it is read.
        levels: lowest and highest value of 16-bit gray in the file.
    """
    values = np.asarray(picture)
    lowest, highest = int(values.min()), int(values.max())
    of_file = f"its 16 bits hold {levels[0]:,} to {levels[1]:,} of 65,535, read as" if levels else "its values are"
    return Problem(file, "", f"{of_file} {lowest} to {highest} of 255", ALMOST_BLACK) if highest < DARK else None


def spelling_notes(class_names: Sequence[str], file: str) -> list[Problem]:
    """Return a note on each group of classes whose names a reader would take for one; `file` is where they stand."""
    alike: dict[str, list[str]] = {}
    for name in class_names:
        alike.setdefault(_letters(name), []).append(name if name.isascii() else f"{name} ({ascii(name)})")
    what = "differ in case, blanks, invisible letters or Unicode form only"
    return [Problem(file, "", f"{', '.join(names)}: {what}", SPELLINGS) for names in alike.values() if names[1:]]


def class_notes(trained: Mapping[str, int], tested: Mapping[str, int], splits: tuple[str, str]) -> list[Problem]:
    """Return a note on each class with few objects or none in training.

    Args:
        trained: objects of each class to train on.
        tested: objects of each class to test on.
        splits: names of the training and the test split.
    """
    notes, file = [], f"{SETS}/{splits[0]}.txt"
    for name, count in trained.items():
        if count < FEW:
            kind = RARE if count else UNTRAINED
            what = f"objects: {count} in {splits[0]}, {tested[name]} in {splits[1]}"
            what += ": its AP will be 0" if tested[name] and not count else ""
            notes.append(Problem(file, f"class {cut(name)}", what, kind))
    return notes


def leak_notes(train: Split, test: Split, files: Mapping[str, str]) -> list[Problem]:
    """Return what training has seen of the test split, each picture once, and what a split holds twice.

    Args:
        train: the training split.
        test: the test split.
        files: the picture of each image with a fingerprint, relative to the dataset.
    """
    trained = set(train.ids)
    file = f"{SETS}/{test.name}.txt"
    notes = [Problem(file, f"image {cut(i)}", f"is in {train.name}, too", IN_BOTH) for i in test.ids if i in trained]
    of_train: dict[bytes, str] = {}
    of_test: dict[bytes, str] = {}
    rest = {}
    for split, seen in ((train, of_train), (test, of_test)):
        for i, each in split.prints.items():
            if split is test and i in trained:
                continue
            if (other := seen.setdefault(each.digest, i)) != i:
                notes.append(Problem(files[i], "", f"the same picture as {other}, both in {split.name}", TWICE))
            if split is test and each.digest in of_train:
                what = f"in {test.name}, and the same picture as {of_train[each.digest]} in {train.name}"
                notes.append(Problem(files[i], "", what, SAME_IN_BOTH))
            elif split is test:
                rest[i] = each
    ids, border = [*train.prints, *rest], len(train.prints)
    partner, count = np.full(len(ids), border), np.zeros(len(ids), np.int64)
    for pairs in near_duplicates([*train.prints.values(), *rest.values()]):
        known, new = np.sort(pairs, axis=0)
        across = (known < border) & (new >= border)
        np.minimum.at(partner, new[across], known[across])
        np.add.at(count, new[across], 1)
    for index in np.flatnonzero(count):
        more = f" and {count[index] - 1} more" * bool(count[index] > 1)
        what = f"in {test.name}, and looks like {ids[partner[index]]}{more} in {train.name}"
        notes.append(Problem(files[ids[index]], "", what, ALIKE_IN_BOTH))
    return notes


def _letters(name: str) -> str:
    """Return what is left of a name without case, blanks, invisible letters and Unicode's forms of one letter."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(char for char in plain if not char.isspace() and unicodedata.category(char) != "Cf")
