"""A checksum inside a file over all its other bytes, so that damage is noticed before the content is used.

It is text, `frcnn-sha256:` and 64 hexadecimal digits: at the end of a file where the format allows bytes there (HDF5,
PyTorch's), else where the file's header has it; then the digits count as zeros. It tells damage, not forgery.
"""

import hashlib
from pathlib import Path

TAG, DIGITS = b"frcnn-sha256:", 64
BLANK = TAG + DIGITS * b"0"
CHUNK = 1 << 20  # bytes


def append_checksum(path: Path) -> None:
    """Append the checksum of a file to it."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(TAG + digest.encode())


def appended_fits(path: Path) -> bool | None:
    """Tell whether the checksum at the end of a file fits what is before; None: it has none.

    Raises:
        OSError: no such file.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        rest = max(0, path.stat().st_size - len(BLANK))
        while chunk := file.read(min(CHUNK, rest)):
            digest.update(chunk)
            rest -= len(chunk)
        end = file.read()
    return end == TAG + digest.hexdigest().encode() if end.startswith(TAG) else None


def fill_in(content: bytes) -> bytes:
    """Return a content with the checksum in its first `BLANK`."""
    start = content.index(BLANK) + len(TAG)
    return b"".join((content[:start], _digest(content, start), content[start + DIGITS :]))


def fits(content: bytes) -> bool | None:
    """Tell whether the first checksum in a content fits; None: it has none."""
    start = content.find(TAG) + len(TAG)
    return content[start : start + DIGITS] == _digest(content, start) if start >= len(TAG) else None


def _digest(content: bytes, start: int) -> bytes:
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(DIGITS * b"0")
    digest.update(view[start + DIGITS :])
    return digest.hexdigest().encode()
