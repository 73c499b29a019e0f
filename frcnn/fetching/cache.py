"""Fetch files over HTTP into the user's cache: mirrors, resumed transfers, verified checksums."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import platformdirs

from frcnn.errors import UserError
from frcnn.fetching.http import LEAST_BYTES, TransferError, open_url
from frcnn.files import locked, sha256_file, write_text

MOST_BYTES = 100 << 30
MOST_SECONDS = 24 * 3600  # for all attempts at all addresses
RETRIES = 5  # attempts in a row that get no further by `LEAST_BYTES`, before the next URL is tried
BACKOFF = 0.5  # seconds before the first retry, doubled at each
Progress = Callable[[int, int | None], None]


def cache_folder() -> Path:
    """Return the cache: $FRCNN_CACHE, or the platform's cache folder for this user."""
    return Path(os.environ.get("FRCNN_CACHE") or platformdirs.user_cache_dir("frcnn"))


def fetch(name: str, urls: Sequence[str], sha256: str | None, on_progress: Progress | None = None) -> Path:
    """Return the path of a file in the cache, downloading it if it is not there.

    A broken transfer leaves NAME.part and is resumed, at once or by the next call, if the server or the checksum can
    tell that the rest belongs to it. The file takes its final name only when it is whole and its checksum has been
    verified. Another process that wants the same file waits.

    Args:
        name: file name in the cache.
        urls: http(s) addresses of the same file, tried in order.
        sha256: expected digest or its first digits; None: the file is not verified.
        on_progress: called with (bytes done, bytes in all, if the server tells).

    Raises:
        UserError: wrong checksum, no address answers, larger than `MOST_BYTES`, or the cache cannot be written.
    """
    path = cache_folder() / name
    with _writing(path), locked(path.with_name(f"{name}.lock"), wait=True):
        if not path.exists():
            part = path.with_name(f"{name}.part")
            if sha256 is None:
                _discard(part)  # by an earlier call, maybe from another address
            _download(path, part, urls, sha256 is not None, on_progress or _ignore)
            try:
                verify(part, sha256)
            except UserError:
                _discard(part)
                raise
            _origin(part).unlink(missing_ok=True)
            part.replace(path)
        elif sha256 is not None:
            _verify_once(path, sha256)
    return path


def verify(path: Path, sha256: str | None) -> str:
    """Return a file's SHA-256 after comparing it with the expected digest or its first digits.

    Raises:
        UserError: naming both.
    """
    found = sha256_file(path)
    _compare(path, found, sha256)
    return found


def _compare(path: Path, found: str, sha256: str | None) -> None:
    if sha256 is not None and not (sha256 and found.startswith(sha256.lower())):
        raise UserError(f"{path}: wrong checksum: SHA-256 is {found}, expected {sha256}; remove it and fetch it again")


def _verify_once(path: Path, sha256: str) -> None:
    """Verify a cached file, hashing it only if it changed since its digest was noted beside it."""
    stat = path.stat()
    note = path.with_name(f"{path.name}.sha256")
    stamp = f"{stat.st_size} {stat.st_mtime_ns}"
    noted, _, of = note.read_text().strip().partition(" ") if note.exists() else ("", "", "")
    if of == stamp:
        return _compare(path, noted, sha256)
    found = verify(path, sha256)
    return write_text(note, f"{found} {stamp}\n")


def _download(path: Path, part: Path, urls: Sequence[str], verified: bool, on_progress: Progress) -> None:
    failures = []
    end = time.monotonic() + MOST_SECONDS
    for url in urls:
        failed, farthest = 0, _size(part)
        while True:
            try:
                return _transfer(url, part, verified, end - time.monotonic(), on_progress)
            except TransferError as error:
                if error.restart:
                    _discard(part)
                failed += 1
                if _size(part) >= farthest + LEAST_BYTES:  # a server that starts over each time gets nowhere
                    failed, farthest = 0, _size(part)
                wait = max(error.wait, BACKOFF * 2**failed)
                if not error.again or failed >= RETRIES or time.monotonic() + wait > end:
                    failures.append(f"{url} ({error})")
                    break
                time.sleep(wait)
    raise UserError(f"{path.name}: cannot be fetched: {'; '.join(failures)}; or put the file at {path} by hand")


def _transfer(url: str, part: Path, verified: bool, seconds: float, on_progress: Progress) -> None:
    """Append what is missing to `part`, or start over where the server does not resume or has another file."""
    origin = _origin(part)
    noted_url, _, noted = origin.read_text(errors="replace").partition("\n") if origin.exists() else ("", "", "")
    known = noted if noted_url == url else ""
    done = _size(part) if known or verified else 0
    with open_url(url, MOST_BYTES, seconds, done, known) as answer:
        if answer.start and answer.validator != (known or None) and not (verified and not (answer.validator and known)):
            raise TransferError("the file has changed meanwhile", restart=True)
        if not answer.start:
            origin.unlink(missing_ok=True)  # before its part: the two never belong to different files
        with part.open("ab" if answer.start else "wb") as file:
            if not answer.start and answer.validator:
                origin.write_text(f"{url}\n{answer.validator}")
            for chunk in answer.chunks:
                file.write(chunk)
                on_progress(file.tell(), answer.total)


def _origin(part: Path) -> Path:
    """Return the file that keeps address and validator of a part."""
    return part.with_suffix(".from.part")


def _discard(part: Path) -> None:
    _origin(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _ignore(done: int, total: int | None) -> None:
    """Report no progress."""


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the cache folder, and turn errors of the file system into one line."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path}: cannot be written: {reason}; set FRCNN_CACHE to another folder") from error
