"""What a dataset may name: plain files inside its folder. A dataset may come from anyone."""

import os
import stat
from functools import lru_cache
from pathlib import Path, PurePosixPath

from frcnn.errors import UserError
from frcnn.messages import has_control_characters, shorten

LONGEST_NAME = 251  # bytes that leave room for ".xml" in the 255 that file systems allow


def why_refused(root: Path, path: Path) -> str | None:
    """Return why a file of a dataset is not read, with a remedy; nothing if it may be read or is not there.

    A link may lead to another place of the dataset, and the dataset itself may be a link.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # who opens it says what is wrong
    if not stat.S_ISREG(mode):
        return "is no plain file; replace or remove it"
    if _leaves(root, path) if path.is_symlink() else _folder_leaves(root, path.parent):
        return "is a link that leads out of the dataset; copy there what it leads to (`cp -rL` copies a whole dataset)"
    return None


def require_inside(root: Path, path: Path) -> None:
    """Check that a file of a dataset may be read, if it is there.

    Raises:
        UserError: as `why_refused`.
    """
    if reason := why_refused(root, path):
        raise UserError(f"{path}: {reason}")


def _leaves(root: Path, path: Path) -> bool:
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


_folder_leaves = lru_cache(4096)(_leaves)  # many files, few folders


def bad_name(name: str) -> str | None:
    """Return what is wrong with the id of an image or the name of a class, or nothing."""
    if has_control_characters(name):
        return f"{shorten(name)} has control characters"
    if any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        return f"{shorten(name)} is longer than {LONGEST_NAME} bytes"
    return None


def bad_id(image_id: str) -> str | None:
    """Return what is wrong with the id of an image, or nothing; a slash is for folders."""
    path = PurePosixPath(image_id.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        return f"{shorten(image_id)} leads outside the dataset"
    return bad_name(image_id)
