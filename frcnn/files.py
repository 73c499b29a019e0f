"""Write files and folders whole or not at all, hold locks, and name content by a digest."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from frcnn.errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name if the block succeeds.

    On any error the temporary file is removed and `path` stays as it was.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yield an empty scratch folder beside `folder`; its subfolder "new" takes the place of `folder`.

    The rest of the scratch folder is removed at the end. On any error `folder` stays as it was.

    Args:
        folder: what is replaced; if it is there and not empty it must hold the marker.
        marker: name of a file that tells such a folder from a user's own.

    Raises:
        UserError: `folder` is a file or a folder of something else, or cannot be written.
    """
    folder = Path(folder)
    _require_replaceable(folder, marker)
    scratch = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for abandoned in folder.parent.glob(f".{folder.name}.*.tmp"):  # by a run that was killed
            shutil.rmtree(abandoned)
        (scratch / "new").mkdir(parents=True)
        yield scratch
        _exchange(scratch / "new", folder, scratch / "old")
    except OSError as error:
        raise _cannot_be_written(folder, error) from error
    except UserError as error:  # names of scratch files mean nothing to the user
        text = str(error).replace(f"{scratch}/new", str(folder)).replace(f"{scratch}/", "")
        raise UserError(*text.splitlines()) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`, which stays; yield False at once if another process holds it and `wait` is False.

    Raises:
        OSError: the lock file cannot be made.
    """
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Replace the content of `path` by `text` (UTF-8, LF), atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_replaceable(folder: Path, marker: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; move it away or name another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).exists():
        raise UserError(
            f"{folder}: holds files of something else (no {marker}) and would be replaced; name another folder"
        )


def _exchange(new: Path, folder: Path, old: Path) -> None:
    """Move `new` to `folder` and what was there to `old`, or nothing."""
    if folder.exists():
        folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise


def _cannot_be_written(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written: {error.strerror or error}")
