"""Fetch files over HTTP into the user's cache: mirrors, resumed transfers, verified checksums."""

import contextlib
import http.client
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import platformdirs

from frcnn.errors import UserError
from frcnn.fetching.http import TransferError, content_length, open_url, read_chunks
from frcnn.files import locked, sha256_file, write_text

RETRIES = 5  # attempts in a row that bring no byte, before the next URL is tried
BACKOFF = 0.5  # seconds before the first retry, doubled at each
Progress = Callable[[int, int | None], None]


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
    with _writing(path), locked(path.with_name(f"{name}.lock"), wait=True):
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
            except TransferError as error:
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
    try:
        response = open_url(url, first_byte=done)
    except TransferError as error:
        if error.beyond_end == str(done):
            return  # `part` is complete
        if error.beyond_end is not None:
            part.unlink()
        raise
    with response:
        start, total = _range_of(response)
        if start not in (0, done):
            part.unlink()
            raise TransferError("the server resumes elsewhere than asked")
        with part.open("ab" if start else "wb") as file:
            done = start
            for chunk in read_chunks(response):
                file.write(chunk)
                done += len(chunk)
                on_progress(done, total)
    if total is not None and done < total:
        raise TransferError(f"connection closed after {done} of {total} bytes")


def _range_of(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return (first byte, bytes of the whole file or None) of an answer."""
    if response.status != 206:
        return 0, content_length(response)
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    return int(start) if start.isdigit() else -1, int(total) if total.isdigit() else None


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
