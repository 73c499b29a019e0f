from pathlib import Path

import matplotlib
import pytest

from frcnn import fonts
from frcnn.fonts import find_font, legible, remark_on_letters

NOWHERE = "\U0010fff0"  # for private use: no font has it
FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


@pytest.mark.parametrize("name", ["кошка", "γάτα", "قطة", "café", "x…"], ids=ascii)
def test_the_font_that_is_always_there_has_many_letters(name: str) -> None:
    assert Path(str(find_font(name))).name == "DejaVuSans.ttf"


def test_the_first_font_that_has_all_letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    latin, more = str(FOLDER / "cmr10.ttf"), str(FOLDER / "DejaVuSans.ttf")
    monkeypatch.setattr(
        fonts, "_fonts", lambda: [str(tmp_path / "broken.ttf"), str(tmp_path / "none.ttf"), latin, more]
    )
    find = find_font.__wrapped__
    assert [find("cat"), find("кошка"), find(f"кошка {NOWHERE}"), find("")] == [latin, more, None, latin]


def test_classes_that_no_font_can_write_have_numbers() -> None:
    names = ["cat", "a\nb", NOWHERE, "кошка", f"cat {NOWHERE}"]
    assert legible(names) == ["cat", "a\nb", "class 3", "кошка", "class 5"]
    assert remark_on_letters(names) == (
        f"no font has the letters: class 3 is {NOWHERE}, class 5 is cat {NOWHERE}; install one, such as Noto Sans CJK"
    )
    assert remark_on_letters(["cat", "кошка"]) is None
