from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.picture_sources import expand_input, unique_names


@pytest.mark.parametrize("letter", ["a", "\u68c0", "\U00020000"], ids=["1 byte", "3 bytes", "4 bytes"])
def test_names_are_short_enough_for_any_file_system(tmp_path: Path, letter: str) -> None:
    """Those of URLs, too, which may be of any length."""
    names = unique_names([f"http://127.0.0.1/{letter * 300}.jpg"] * 3)
    assert len(set(names)) == 3
    for name in names:
        assert letter * 40 in name
        (tmp_path / f"{name}.png").touch()


def test_a_folder_whose_files_are_not_read_names_them(tmp_path: Path) -> None:
    for name in ("a.heic", "b.CR2", "c.svg", "d.dcm"):
        (tmp_path / name).touch()
    words = r"no picture in this folder \(\.jpg, .*\.dib\), but a.heic, b.CR2, c.svg, and 1 more; convert them to JPEG"
    with pytest.raises(UserError, match=words):
        expand_input(str(tmp_path))
    (tmp_path / "e.JP2").touch()
    assert expand_input(str(tmp_path)) == [str(tmp_path / "e.JP2")]
