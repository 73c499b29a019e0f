"""Write files and folders whole or not at all, hold locks, and name content by a digest."""

import errno
import glob
import hashlib
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

from frcnn.errors import UserError

FLUSHES = 16  # at once: a file system writes many with hardly more work than one
DAY = 24 * 60 * 60  # seconds
_cleaned: set[Path] = set()  # folders that this process looked through for files of killed runs


@contextmanager
def atomic_path(path: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its name if the block succeeds.

    On any error the temporary file is removed and `path` stays as it was. The first call for a folder removes the
    temporary files of killed runs there, unless another process is writing in that folder.

    Args:
        path: what is replaced; its folder is made.
        durable: whether a power failure right after the block, too, must find the new file or the old one, whole.

    Raises:
        UserError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".frcnn-{_unique()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing_in(path.parent):
            yield temporary
            if durable:
                _flush(temporary)
            temporary.replace(path)
            if durable:
                _flush(path.parent)
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(folder: Path, marker: str) -> Iterator[Path]:
    """Yield an empty scratch folder beside `folder`; its subfolder "new" takes the place of `folder`.

    The rest of the scratch folder is removed at the end. On any error `folder` stays as it was. A second process waits
    until the first is done. A link stays a link: what it leads to is replaced.

    Two renames do it, since only Linux could exchange two folders in one step, by a call that Python does not have; a
    run that is killed between them leaves both folders in its scratch folder, and the next run puts one in place.

    Args:
        folder: what is replaced; if it is there and not empty it must hold the marker.
        marker: name of a file that tells such a folder from a user's own.

    Raises:
        UserError: `folder` is a file or a folder of something else, or cannot be written.
    """
    _require_replaceable(Path(folder), marker)
    target = Path(folder).resolve()
    scratch = target.with_name(f".{target.name}.{_unique()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock"), wait=True):
            _clear_up(target)
            try:
                (scratch / "new").mkdir(parents=True)
                yield scratch
                _flush_all(scratch / "new")  # a power failure must not find the new name without the files
                _exchange(scratch / "new", target, scratch / "old")
            finally:
                if target.exists() or not (scratch / "old").exists():
                    _remove(scratch)
    except OSError as error:
        raise _cannot_be_written(folder, error) from error
    except UserError as error:  # names of scratch files mean nothing to the user
        lines = (
            str(line).replace(str(scratch / "new"), str(folder)).replace(f"{scratch}{os.sep}", "")
            for line in error.args
        )
        raise UserError(*lines) from error


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`, which stays; yield False at once if another process holds it and `wait` is False.

    Its folder is made.

    Raises:
        UserError: the folder or the lock file cannot be made.
    """
    lock = filelock.FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except filelock.Timeout:
        yield False
        return
    except OSError as error:
        raise _cannot_be_written(path.parent, error) from error
    try:
        yield True
    finally:
        lock.release()


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Replace the content of `path` by `text` (UTF-8, LF), atomically; `durable` as in `atomic_path`."""
    with atomic_path(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def project_path(text: str) -> Path:
    """Return the path that a parameter names, relative to the project.

    DVC runs queued experiments in a copy of the project below its .dvc; what Git does not track is not in there.
    """
    path, here = Path(text).expanduser(), Path.cwd()
    root = Path(os.environ.get("DVC_ROOT", here))
    if path.exists() or not here.is_relative_to(root / ".dvc"):
        return path
    copy = next(folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir())
    return root / here.relative_to(copy) / path


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
    try:
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    except BaseException:  # a signal, too
        if old.exists() and not folder.exists():
            old.replace(folder)
        raise


def _remove(folder: Path) -> None:
    """Remove a folder; a signal meanwhile ends the program only after that."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _clear_up(folder: Path) -> None:
    """Remove the scratch folders of killed runs; if one was killed while it exchanged, finish that first.

    The caller holds the folder's lock, so that none of them is in use.
    """
    pattern = f".{glob.escape(folder.name)}.{'[0-9a-f]' * len(_unique())}.tmp"
    for scratch in folder.parent.glob(pattern):
        new, old = scratch / "new", scratch / "old"
        if old.exists() and not folder.exists():
            (new if new.exists() else old).replace(folder)  # what was there is moved only once the new one is whole
        shutil.rmtree(scratch)


@contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    """Hold the folder, together with others that write in it; remove what killed runs left there.

    The lock is on the folder itself, so that it leaves no file. Where it is not to be had (some network drives),
    nothing is removed. Windows has no such lock: there a day must have passed.
    """
    first = folder.resolve() not in _cleaned
    if not hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):
            if first:
                _remove_abandoned(folder, time.time() - DAY)
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            if first:
                with suppress(BlockingIOError):  # somebody writes
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove_abandoned(folder)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path, before: float = math.inf) -> None:
    """Remove temporary files last changed before a time, in seconds since 1970; remember that this is done."""
    for abandoned in folder.glob(".frcnn-*.tmp"):
        if abandoned.stat().st_mtime < before:
            abandoned.unlink()
    _cleaned.add(folder.resolve())


def _flush(what: Path) -> None:
    """Have a file or a folder written to the disk; Windows does that for folders by itself."""
    try:
        descriptor = os.open(what, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    except PermissionError:
        if sys.platform == "win32":  # a folder, or a file that is read-only
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system without this for folders
            raise
    finally:
        os.close(descriptor)


def _flush_all(folder: Path) -> None:
    with ThreadPoolExecutor(FLUSHES) as pool:
        list(pool.map(_flush, [*folder.rglob("*"), folder]))


def _unique() -> str:
    """Return 16 hexadecimal digits that no other call has; numbers of processes repeat in containers."""
    return os.urandom(8).hex()


def _cannot_be_written(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written: {error.strerror or error}")
