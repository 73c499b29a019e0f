"""What a dataset may hold and name: plain files in its folder, whole text, ids that do not lead outside.

A dataset may come from anyone. Archives have no links, `unpack` refuses them; those of a folder are its owner's.
"""

import os
import stat
from collections.abc import Iterator
from json import detect_encoding
from pathlib import Path, PurePath

from frcnn.errors import UserError
from frcnn.messages import has_control_characters, shorten

LONGEST_NAME = 251  # bytes that leave room for ".xml" in the 255 that file systems allow
LONGEST_PATH = 2000  # characters of an id with its folders


def walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield (folder, names of folders, names of files), sorted, at and below a folder.

    Each folder comes once: links to folders are followed after all others, those to a folder above never. Folders that
    the caller removes from the list are left out, and so is what `is_hidden`.
    """
    waiting, seen, top = [Path(root)], set(), Path(os.path.realpath(root))
    while waiting:
        links: list[Path] = []
        for start in waiting:
            for parent, folders, names in os.walk(start):
                real = os.path.realpath(parent)
                if real in seen or (start != Path(root) and top.is_relative_to(real)):
                    folders.clear()
                    continue
                seen.add(real)
                folders[:] = sorted(name for name in folders if not is_hidden(name))
                yield Path(parent), folders, sorted(name for name in names if not is_hidden(name))
                links += [Path(parent, name) for name in folders if Path(parent, name).is_symlink()]
        waiting = links


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is none of a dataset's, as macOS's companions ._NAME and folder __MACOSX are."""
    return name.startswith(".") or name == "__MACOSX"


def why_refused(path: Path) -> str | None:
    """Return why a file of a dataset is not read, with a remedy; nothing if it may be read or is not there."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # who opens it says what is wrong
    return None if stat.S_ISREG(mode) else "is no plain file; replace or remove it"


def require_plain(path: Path) -> None:
    """Check that a file of a dataset may be read, if it is there.

    Raises:
        UserError: it is a folder, device, pipe or socket, or a link to one.
    """
    if reason := why_refused(path):
        raise UserError(f"{path}: {reason}")


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 or UTF-32 as by its first bytes.

    Raises:
        OSError: it cannot be read.
        UserError: it is no plain file or no text.
    """
    require_plain(path)
    content = path.read_bytes()
    try:
        return content.decode(detect_encoding(content))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from error


def bad_name(name: str) -> str | None:
    """Return what is wrong with the id of an image or the name of a class, or nothing."""
    if has_control_characters(name):
        return f"{shorten(name)} has control characters"
    if len(name) > LONGEST_PATH:
        return f"{shorten(name)} is longer than {LONGEST_PATH} characters"
    if any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        return f"{shorten(name)} is longer than {LONGEST_NAME} bytes"
    return None


def bad_id(image_id: str) -> str | None:
    """Return what is wrong with the id of an image, or nothing; a slash is for folders."""
    return f"{shorten(image_id)} leads outside the dataset" if leads_outside(image_id) else bad_name(image_id)


def leads_outside(name: str) -> bool:
    """Tell whether a name, with slashes of either kind, leads out of the folder to which it is joined."""
    path = PurePath(name.replace("\\", "/"))
    return bool(path.anchor) or ".." in path.parts  # an anchor of Windows may be a drive alone
