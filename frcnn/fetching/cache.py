"""Fetch files over HTTP into the user's cache: mirrors, resumed transfers, verified checksums."""

import contextlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import platformdirs

from frcnn import __version__
from frcnn.errors import UserError
from frcnn.files import sha256_file, write_text

CHUNK = 1 << 18  # bytes
TIMEOUT = 30  # seconds without a byte
RETRIES = 5  # attempts in a row that bring no byte, before the next URL is tried
BACKOFF = 0.5  # seconds before the first retry, doubled at each
Progress = Callable[[int, int | None], None]


class _BrokenTransferError(Exception):
    """The connection failed; `again` tells whether the same URL is worth another attempt."""

    def __init__(self, reason: object, again: bool = True) -> None:
        super().__init__(str(reason))
        self.again = again


def cache_folder() -> Path:
    """Return the cache: $FRCNN_CACHE, or the platform's cache folder for this user."""
    return Path(os.environ.get("FRCNN_CACHE") or platformdirs.user_cache_dir("frcnn"))


def fetch(name: str, urls: Sequence[str], sha256: str | None, on_progress: Progress | None = None) -> Path:
    """Return the path of a file in the cache, downloading it if it is not there.

    A broken transfer leaves NAME.part and is resumed, at once or by the next call. The file takes its final name
    only after its checksum has been verified. Another process that wants the same file waits.

    Args:
        name: file name in the cache.
        urls: http(s) addresses of the same file, tried in order.
        sha256: expected digest or its first digits; None: the file is not verified.
        on_progress: called with (bytes done, bytes in all, if the server tells).

    Raises:
        UserError: wrong checksum, no address answers, or the cache cannot be written.
    """
    path = cache_folder() / name
    with _writing(path), _locked(path):
        if not path.exists():
            part = path.with_name(f"{name}.part")
            if sha256 is None:
                part.unlink(missing_ok=True)  # nothing could tell that the rest belongs to it
            _download(path, part, urls, on_progress or _ignore)
            try:
                verify(part, sha256)
            except UserError:
                part.unlink()
                raise
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


def _download(path: Path, part: Path, urls: Sequence[str], on_progress: Progress) -> None:
    failures = []
    for url in urls:
        failed = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                return _transfer(url, part, on_progress)
            except _BrokenTransferError as error:
                after = part.stat().st_size if part.exists() else 0
                failed = 0 if after > before else failed + 1
                if not error.again or failed >= RETRIES:
                    failures.append(f"{url} ({error})")
                    break
                time.sleep(BACKOFF * 2**failed)
    raise UserError(f"{path.name}: cannot be fetched: {'; '.join(failures)}; or put the file at {path} by hand")


def _transfer(url: str, part: Path, on_progress: Progress) -> None:
    """Append what is missing to `part`, or start over where the server does not resume."""
    done = part.stat().st_size if part.exists() else 0
    response = _open(url, part, done)
    if response is None:
        return
    with response:
        start, total = _range_of(response)
        if start not in (0, done):
            part.unlink()
            raise _BrokenTransferError("the server resumes elsewhere than asked")
        with part.open("ab" if start else "wb") as file:
            done = _receive(response, file, start, total, on_progress)
    if total is not None and done < total:
        raise _BrokenTransferError(f"connection closed after {done} of {total} bytes")


def _open(url: str, part: Path, done: int) -> http.client.HTTPResponse | None:
    """Return the server's answer, or None where `part` turns out to be complete."""
    headers = {"User-Agent": f"frcnn/{__version__}"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:  # nothing beyond `done`
                if error.headers.get("Content-Range", "") == f"bytes */{done}":
                    return None
                part.unlink()
                raise _BrokenTransferError("the server has less than was there already") from error
            again = error.code == 429 or error.code >= 500
            raise _BrokenTransferError(f"HTTP {error.code} {error.reason}", again) from error
    except urllib.error.URLError as error:
        again = isinstance(error.reason, TimeoutError | ConnectionResetError)
        raise _BrokenTransferError(getattr(error.reason, "strerror", None) or error.reason, again) from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenTransferError(error) from error
    except ValueError as error:
        raise _BrokenTransferError(error, again=False) from error


def _range_of(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return (first byte, bytes of the whole file or None) of an answer."""
    if response.status == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
        return int(start) if start.isdigit() else -1, int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _receive(
    response: http.client.HTTPResponse, file: IO[bytes], done: int, total: int | None, on_progress: Progress
) -> int:
    """Write the body to `file` and return the position reached in bytes."""
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokenTransferError(error) from error
        if not chunk:
            return done
        file.write(chunk)
        done += len(chunk)
        on_progress(done, total)


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


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a cached file, waiting for another process to release it."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: no lock
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
