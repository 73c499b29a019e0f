"""Damage the bytes of a file: what disks, transfers, editors and other programs do to them."""

import random
import re
from collections.abc import Callable

BLOCK = 512  # bytes, at most, of a block that is zeroed, inserted or moved
EDGE = 4096  # bytes: where headers and tables of contents are
NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")
EXTREMES = [
    b"0", b"-1", b"1e308", b"-1e400", b"1e-320", b"nan", b".nan", b"inf", b"-.inf", b"99999999999999999999", b"0x1F",
    b"1_0", b"010", b"1:30:00", b"2024-02-30", b"2147483648", b"-9223372036854775809", b"4" * 400, b"", b"true",
    b"null", b"[]", b"{}", b"[[[[[[[[1]]]]]]]]", b"*a", b"&a [*a]", b"!!python/name:os.system", b"'", b'"', b"<",
    b"&x;", b"\xd9\xa3", b"\xff",
]  # fmt: skip
INSERTS = [b"\0", b"\xef\xbb\xbf", b"\r", b"\t", b"\x1b[31m", b"../", b"/", b"\\", b"%s", b"\n\n", b"\xe2\x80\xae"]


def flip(data: bytearray, draw: random.Random) -> None:
    """Flip one to eight bits."""
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def truncate(data: bytearray, draw: random.Random) -> None:
    """Cut off the end."""
    del data[draw.randrange(len(data)) :]


def zero(data: bytearray, draw: random.Random) -> None:
    """Set a block to zeros."""
    span = _span(data, draw)
    data[span] = bytes(len(data[span]))


def insert(data: bytearray, draw: random.Random) -> None:
    """Insert a block of random bytes."""
    at = draw.randint(0, len(data))
    data[at:at] = draw.randbytes(draw.randint(1, BLOCK))


def repeat(data: bytearray, draw: random.Random) -> None:
    """Insert a copy of a block after it."""
    span = _span(data, draw)
    data[span.stop : span.stop] = data[span]


def remove(data: bytearray, draw: random.Random) -> None:
    """Leave out a block."""
    del data[_span(data, draw)]


def swap(data: bytearray, draw: random.Random) -> None:
    """Exchange two neighboring blocks."""
    span = _span(data, draw)
    middle = (span.start + span.stop) // 2
    data[span] = data[middle : span.stop] + data[span.start : middle]


def overwrite(data: bytearray, draw: random.Random) -> None:
    """Set one to eight neighboring bytes to a number of extreme size."""
    at, size = draw.randrange(len(data)), draw.choice((1, 2, 4, 8))
    data[at : at + size] = draw.choice(
        (b"\xff" * size, b"\x7f".rjust(size, b"\xff"), b"\x80".rjust(size, b"\0"), bytes(size))
    )


def extreme(data: bytearray, draw: random.Random) -> None:
    """Replace a number of a text by an extreme one, or by something else."""
    numbers = list(NUMBER.finditer(data))
    if numbers:
        data[slice(*draw.choice(numbers).span())] = draw.choice(EXTREMES)


def lines(data: bytearray, draw: random.Random) -> None:
    """Repeat, leave out or exchange lines of a text."""
    rows = bytes(data).splitlines(keepends=True)
    at, other = draw.randrange(len(rows)), draw.randrange(len(rows))
    kind = draw.randrange(3)
    rows[at:at] = [rows[other]] if kind == 0 else []
    if kind == 1:
        del rows[at]
    rows[at:at], rows[other:other] = (
        ([rows[other]], [rows[at]]) if kind == 2 and len(rows) > max(at, other) else ([], [])
    )
    data[:] = b"".join(rows)


def token(data: bytearray, draw: random.Random) -> None:
    """Insert what editors and other systems put into texts."""
    at = draw.randint(0, len(data))
    data[at:at] = draw.choice(INSERTS)


def recode(data: bytearray, draw: random.Random) -> None:
    """Write a text in another encoding."""
    data[:] = data.decode(errors="replace").encode(
        draw.choice(("utf-16", "utf-8-sig", "utf-32", "cp037")), errors="replace"
    )


Mutation = Callable[[bytearray, random.Random], None]
BINARY: list[Mutation] = [flip, flip, truncate, zero, insert, repeat, remove, swap, overwrite]
TEXT: list[Mutation] = [extreme, extreme, extreme, lines, lines, token, token, recode, flip, truncate, swap, zero]


def mutate(data: bytes, text: bool, draw: random.Random) -> bytes:
    """Return bytes that differ from `data`; of a large file often only its first or last bytes are damaged."""
    low, high = (
        draw.choice(((0, len(data)), (0, EDGE), (len(data) - EDGE, len(data))))
        if len(data) > 4 * EDGE
        else (0, len(data))
    )
    part = bytearray(data[low:high])
    while bytes(part) == data[low:high]:
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            draw.choice(TEXT if text else BINARY)(part, draw) if part else insert(part, draw)
    return data[:low] + bytes(part) + data[high:]


def _span(data: bytearray, draw: random.Random) -> slice:
    start = draw.randrange(len(data))
    return slice(start, min(len(data), start + draw.randint(1, BLOCK)))
