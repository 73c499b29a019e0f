"""What messages may show."""

import unicodedata

import pytest

from frcnn.messages import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("dog", "dog"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),  # clears the screen, rings
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\x9b31m\x7f\x85", "\\x9b31m\\x7f\\x85"),  # C1: as ESC [
        ("gpj.\u202etxt", "gpj.\\u202etxt"),  # shown from right to left: another name
        ("\u2066a\u2069\u200f\u061c", "\\u2066a\\u2069\\u200f\\u061c"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\udcff", "\\udcff"),  # a file name that is not UTF-8
        ("שלום кот 猫 café 👩\u200d🚀", "שלום кот 猫 café 👩\u200d🚀"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_no_character_that_steers_a_terminal_is_left() -> None:
    for code in range(0x110000):
        shown = printable(chr(code))
        assert unicodedata.bidirectional(shown[0]) not in {
            "LRE",
            "RLE",
            "PDF",
            "LRO",
            "RLO",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        }
        assert all(unicodedata.category(char) not in {"Cc", "Cs", "Zl", "Zp"} for char in shown)
