"""Find fonts that have the letters of class names."""

from collections.abc import Sequence
from functools import cache

from frcnn.messages import first_few

LONGEST = 24  # letters of a class's name in pictures and plots


def shorten(name: str) -> str:
    """Return the beginning of a name that is too long for a picture."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def legible(class_names: Sequence[str]) -> list[str]:
    """Return what is drawn for each class 1..C: its name, or "class 3" where no font has the letters."""
    return [
        name if name.isascii() or find_font(name) else f"class {label}" for label, name in enumerate(class_names, 1)
    ]


def remark_on_letters(class_names: Sequence[str]) -> str | None:
    """Return a line that says which classes 1..C are drawn by their numbers, None if none is."""
    drawn = zip(legible(class_names), class_names, strict=True)
    numbers = [f"{shown} is {name}" for shown, name in drawn if shown != name]
    return f"no font has the letters: {first_few(numbers, 20)}; install one, such as Noto Sans CJK" if numbers else None


@cache
def find_font(text: str) -> str | None:
    """Return the path of a font with all letters of a text, and digits: matplotlib's DejaVu Sans, or the system's."""
    wanted = {ord(letter) for letter in text + "0123456789." if not letter.isspace()}
    return next((path for path in _fonts() if wanted <= _letters(path)), None)


@cache
def _fonts() -> list[str]:
    from matplotlib import font_manager  # takes a while, and most names are ASCII

    others = sorted(font_manager.findSystemFonts(), key=lambda path: ("Regular" not in path, "Sans" not in path, path))
    # The font of last resort has a box for every letter.
    return [font_manager.findfont("DejaVu Sans"), *(path for path in others if "LastResort" not in path)]


@cache
def _letters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(font.get_charmap() if font.scalable else ())
