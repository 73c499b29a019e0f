"""Damage the bytes of a file: what disks, transfers, editors and other programs do to them."""

import random
import re

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


BINARY = ("flip", "flip", "truncate", "zero", "insert", "repeat", "remove", "swap", "overwrite")
TEXT = (
    "number",
    "number",
    "number",
    "lines",
    "lines",
    "token",
    "token",
    "encoding",
    "flip",
    "truncate",
    "swap",
    "zero",
)


def mutate(data: bytes, text: bool, draw: random.Random) -> bytes:
    """Return bytes that differ from `data`; of a large file often only its first or last bytes are damaged."""
    large = len(data) > 4 * EDGE
    low, high = draw.choice([(0, len(data)), *[(0, EDGE), (len(data) - EDGE, len(data))] * large])
    part = data[low:high]
    while part == data[low:high]:
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            part = damage(draw.choice(TEXT if text else BINARY), part, draw)
    return data[:low] + part + data[high:]


def damage(kind: str, data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one damage; the kinds are those of BINARY and TEXT."""
    start = draw.randrange(len(data) + 1)
    stop = min(len(data), start + draw.randint(1, BLOCK))
    before, block, after = data[:start], data[start:stop], data[stop:]
    match kind:
        case "flip" if data:
            flipped = bytearray(data)
            for _ in range(draw.randint(1, 8)):
                flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            return bytes(flipped)
        case "truncate":
            return before
        case "zero":
            return before + bytes(len(block)) + after
        case "insert":
            return before + draw.randbytes(draw.randint(1, BLOCK)) + block + after
        case "repeat":
            return before + block + block + after
        case "remove":
            return before + after
        case "swap":
            return before + block[len(block) // 2 :] + block[: len(block) // 2] + after
        case "overwrite":
            size = draw.choice((1, 2, 4, 8))
            return before + draw.choice((b"\xff", b"\x7f", b"\x80", b"\0")).ljust(size, b"\xff") + data[start + size :]
        case "number" if numbers := list(NUMBER.finditer(data)):
            found = draw.choice(numbers)
            return data[: found.start()] + draw.choice(EXTREMES) + data[found.end() :]
        case "lines" if rows := data.splitlines(keepends=True):
            row = rows.pop(draw.randrange(len(rows))) if draw.random() < 0.7 else draw.choice(rows)
            at = draw.randrange(len(rows) + 1)
            return b"".join([*rows[:at], *[row] * draw.randrange(3), *rows[at:]])
        case "encoding":
            encoding = draw.choice(("utf-16", "utf-8-sig", "utf-32", "cp037"))
            return data.decode(errors="replace").encode(encoding, errors="replace")
    return before + draw.choice(INSERTS) + block + after
