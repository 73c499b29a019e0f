"""What `predict` accepts as pictures: files, folders, globs and http(s) URLs."""

import glob
import re
import tempfile
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from frcnn.data.voc.dataset import EXTENSIONS
from frcnn.data.voc.inside import walk
from frcnn.data.voc.pictures import read_picture
from frcnn.errors import UserError
from frcnn.fetching.http import TransferError, open_url
from frcnn.messages import first_few

MOST_BYTES = 100 * 1024 * 1024
MOST_SECONDS = 120  # for a picture
LONGEST_NAME = 200  # bytes; file systems allow 255


def is_url(text: str) -> bool:
    """Tell whether the text is an http or https URL."""
    return text.lower().startswith(("http://", "https://"))


def expand_input(text: str, recursive: bool = False) -> list[str]:
    """Return the files or the URL that an argument means: itself, a folder's pictures, or a glob's matches, sorted.

    Args:
        text: the argument.
        recursive: whether the folders in a folder count, too.

    Raises:
        UserError: no such file, nothing that matches, or no picture in the folder.
    """
    path = Path(text)
    if is_url(text) or path.is_file():
        return [text]
    if path.is_dir():
        files: list[str] = []
        for folder, folders, names in walk(path):
            files += sorted(str(folder / name) for name in names if (folder / name).is_file())
            if not recursive:
                folders.clear()
        found = [each for each in files if Path(each).suffix.lower() in EXTENSIONS]
        others = f", but {first_few([Path(each).name for each in files])}; convert them to JPEG or PNG" if files else ""
        deeper = not recursive and any(each.is_dir() for each in path.iterdir())
        others += "; --recursive reads the folders in it, too" if deeper else ""
        problem = f"no picture in this folder ({', '.join(EXTENSIONS)}){others}"
    elif glob.has_magic(text):
        found = sorted(each for each in glob.glob(text, recursive=True) if Path(each).is_file())  # noqa: PTH207
        problem = "no file matches this pattern"
    else:
        found, problem = [], "no such file or folder"
    if not found:
        raise UserError(f"{text}: {problem}")
    return found


def read_input(source: str, max_pixels: int | None = None) -> np.ndarray:
    """Read a picture file or URL as (H, W, 3) uint8 RGB, upright; `max_pixels` as in `read_picture`.

    Raises:
        UserError: it cannot be fetched, is larger than `MOST_BYTES`, or is no readable picture.
    """
    if not is_url(source):
        return read_picture(Path(source), max_pixels)
    content = _fetch(source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        path.write_bytes(content)
        try:
            return read_picture(path, max_pixels)
        except UserError as error:
            raise UserError(str(error).replace(str(path), source)) from error


def unique_names(sources: Sequence[str]) -> list[str]:
    """Return a file name without suffix for each source, all different even where case does not count."""
    names: list[str] = []
    taken: set[str] = set()
    for source in sources:
        text = urllib.parse.unquote(urllib.parse.urlsplit(source).path) if is_url(source) else source
        stem = re.sub(r"[^\w.\-+ ]", "_", Path(text).stem).encode()[:LONGEST_NAME].decode(errors="ignore") or "picture"
        name, count = stem, 1
        while name.lower() in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name.lower())
        names.append(name)
    return names


def _fetch(url: str) -> bytes:
    content = bytearray()
    try:
        with open_url(url, MOST_BYTES, MOST_SECONDS) as answer:
            for chunk in answer.chunks:
                content += chunk
    except TransferError as error:
        raise UserError(f"{url}: cannot be fetched: {error}; or download it and name the file") from error
    return bytes(content)
