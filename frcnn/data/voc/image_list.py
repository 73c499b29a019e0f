"""Read a list of image ids, ImageSets/Main/SPLIT.txt, also one that was written for another program.

A line is the id of an image, or by the files that are there has one meaning: an id in quotes, with an extension, after
the folders of pictures or annotations, or in front of other columns.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from frcnn.data.voc.inside import LONGEST_PATH, bad_id, read_text
from frcnn.errors import UserError
from frcnn.messages import cut_lines, shorten

FLAGGED = re.compile(r"(.*\S)\s+(?:-1|0|1)")  # "000012 -1", as in per-class lists
QUOTED = re.compile(r"""(["'])(.+)\1""")
SEPARATOR = re.compile(r"[\s,;]+")
OUTSIDE = re.compile(r"/|[A-Za-z]:/|\.\./")
FOLDERS = ("jpegimages", "annotations")
Lines = list[tuple[int, str]]


def read_lines(path: Path) -> Lines:
    """Return (line number, text) of every line that is not blank; errors as `read_text`."""
    return [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]


def is_flagged(lines: Lines) -> bool:
    """Tell whether every line ends with a flag; an id may itself end with a blank and a digit."""
    return all(FLAGGED.fullmatch(line) for _, line in lines)


def read_ids(path: Path, known: Collection[str], suffixes: Collection[str]) -> Lines:
    """Return (line number, image id) for every line that is not blank.

    Args:
        path: the list.
        known: ids of the pictures and annotations that are there. A line that means none of them is an id as it is.
        suffixes: of pictures and annotations, in lower case.

    Raises:
        OSError: as `read_text`.
        UserError: as `read_text`; all lines that may mean two images or hold an id that no file inside can have.
    """
    lines = read_lines(path)
    if is_flagged(lines):
        lines = [(n, line if line in known else FLAGGED.sub(r"\1", line)) for n, line in lines]
    whole = [_known_id(line, known, suffixes) for _, line in lines]
    columns = not any(whole)  # else a name with blanks that is not there would pass for its first word
    ids, errors = [], []
    for (number, line), image_id in zip(lines, whole, strict=True):
        first = _first_columns(line, known, suffixes) if columns else {}
        ids.append((number, image_id or next(iter(first), line)))
        if len(first) > 1:
            errors.append(f"{path}: line {number}: {shorten(line)} means {' or '.join(first)}; write one id per line")
        elif what := bad_id(ids[-1][1]):
            errors.append(f"{path}: line {number}: id {what}; correct the line")
    if errors:
        raise UserError(*cut_lines(errors))
    return ids


def _known_id(text: str, known: Collection[str], suffixes: Collection[str]) -> str | None:
    return next((each for each in _meanings(text, suffixes) if each in known), None)


def _first_columns(line: str, known: Collection[str], suffixes: Collection[str]) -> dict[str, None]:
    """Return the known ids that the line begins with."""
    found = [_known_id(line[: match.start()], known, suffixes) for match in SEPARATOR.finditer(line[:LONGEST_PATH])]
    return dict.fromkeys(filter(None, found))


def _meanings(text: str, suffixes: Collection[str]) -> Iterator[str]:
    """Yield the ids that a text may stand for, the likeliest first."""
    yield text
    if len(text) > LONGEST_PATH:
        return
    text = text.rstrip(",; \t")
    quoted = QUOTED.fullmatch(text)
    path = PurePosixPath((quoted[2].strip() if quoted else text).replace("\\", "/"))
    for each in (path, path.with_suffix("")) if path.suffix.lower() in suffixes else (path,):
        yield each.as_posix()
        outside = OUTSIDE.match(each.as_posix())  # then any end of the path may be the id
        starts = [i for i, part in enumerate(each.parts, 1) if outside or part.lower() in FOLDERS]
        yield from ("/".join(each.parts[start:]) for start in (starts if outside else starts[-1:]))
