"""Parts of messages: long values shortened, long lists cut, differences between two sets of parameters named."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

LONGEST = 60  # characters of a value


UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # categories: control characters, halves of surrogate pairs, breaks
DIRECTIONS = {"\u061c", *"\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


def printable(text: str) -> str:
    r"""Return a text with escapes, as \x1b and \u202e, for what would steer a terminal or make it show another text.

    Those are control characters (line breaks too), line and paragraph separators, marks that change the direction of
    writing, and halves of surrogate pairs. Everything else, letters from right to left too, stays as it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if char in DIRECTIONS or unicodedata.category(char) in UNPRINTABLE
        else char
        for char in text
    )  # fmt: skip


def has_control_characters(text: str) -> bool:
    """Tell whether a text has what no name may have: control characters, line breaks, halves of surrogate pairs."""
    return not text.isprintable() and any(unicodedata.category(char) in UNPRINTABLE for char in text)


def shorten(value: Any) -> str:
    """Return a value as JSON writes it, cut after `LONGEST` characters."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    text = text.encode(errors="backslashreplace").decode()  # JSON may hold halves of surrogate pairs
    return cut(text)


def cut(text: str, longest: int = LONGEST) -> str:
    """Return a text, cut after so many characters."""
    return text if len(text) <= longest else text[: longest - 3] + "..."


def first_few(names: Sequence[str], limit: int = 3, separator: str = ", ") -> str:
    """Return the first names of a list, and how many more there are."""
    rest = len(names) - limit
    return separator.join(names[:limit]) + (f"{separator}and {rest} more" if rest > 0 else "")


def cut_lines(lines: Sequence[str], limit: int = 30) -> list[str]:
    """Return the first lines of a long message, and one that says how many more there are."""
    return [*lines[:limit], *([f"and {len(lines) - limit} more such lines"] if len(lines) > limit else [])]


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def differences(actual: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return every key whose values differ, with both: `data.min_size 600, now 300`.

    Args:
        actual: nested dictionaries of what something was made from.
        expected: of what it should be made from; other keys of `actual` do not count.
    """
    lines: list[str] = []
    for key, value in expected.items():
        other = actual.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            lines += differences(other, value, f"{prefix}{key}.")
        elif other != value:
            lines.append(f"{prefix}{key} {_around(other, value)}, now {_around(value, other)}")
    return lines


def _around(value: Any, other: Any) -> str:
    """Return a value; of two long lists the items that only this one has."""
    if isinstance(value, list) and isinstance(other, list) and len(json.dumps(value)) > LONGEST:
        own = [item for item in value if item not in other]
        return f"{len(value)} items" + (f" with {first_few([str(item) for item in own])}" if own else "")
    return shorten(value)
