"""Files are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.files import atomic_path, sha256_file, write_text


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "one\n")
    write_text(path, "two\n")
    assert path.read_bytes() == b"two\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("moment", ["while writing", "when renaming"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if moment == "when renaming":
        monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"file.txt: cannot be written: No space left"), atomic_path(path) as temporary:
        temporary.write_text("new")
        if moment == "while writing":
            full()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_ours_passes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_text(tmp_path / "data" / "file.txt", "")


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert sha256_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")
