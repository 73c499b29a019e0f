"""Files are written whole or not at all."""

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from frcnn import files
from frcnn.errors import UserError
from frcnn.files import atomic_folder, atomic_path, project_path, sha256_file, write_text
from tests.factories import LINUX, POSIX

MARKER = "marker"


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


@LINUX
@pytest.mark.parametrize("durable", [False, True])
def test_a_power_failure_is_guarded_against_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(Path(f"/proc/self/fd/{fd}").readlink().name), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("rename"), replace(a, b)))
    with atomic_path(tmp_path / "file", durable=durable) as temporary:
        temporary.write_text("new")
    assert done == ([temporary.name, "rename", tmp_path.name] if durable else ["rename"])


def test_names_of_temporary_files_repeat_in_no_call(tmp_path: Path) -> None:
    """Threads have one number of a process, and so may processes of two containers."""
    with atomic_path(tmp_path / "file") as first, atomic_path(tmp_path / "file") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "file").read_text() == "1"


def run_and_kill(folder: Path, code: str) -> None:
    """Run code that kills its own process."""
    code = f"import os; from pathlib import Path; from frcnn.files import *; os.chdir({str(folder)!r})\n{code}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9


@POSIX
def test_files_of_killed_runs_are_removed_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    run_and_kill(tmp_path, "with atomic_path('a') as path: path.write_text('half'); os.kill(os.getpid(), 9)")
    (tmp_path / ".mine.tmp").touch()
    assert len(list(tmp_path.glob(".frcnn-*.tmp"))) == 1
    write_text(tmp_path / "b", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "b"]

    files._cleaned.clear()
    with atomic_path(tmp_path / "a") as living:
        living.touch()
        code = f"from pathlib import Path; from frcnn.files import *; write_text(Path({str(tmp_path)!r}) / 'c', '')"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert living.exists()


KILLED_AT = """
import pathlib, shutil
steps = iter(range(9))
def dying(function):
    return lambda *a, **k: next(steps) == {} and os.kill(os.getpid(), 9) or function(*a, **k)
Path.replace, shutil.rmtree = dying(Path.replace), dying(shutil.rmtree)
with atomic_folder(Path('out'), 'marker') as scratch:
    (scratch / 'new/marker').write_text('new')
"""


@POSIX
@pytest.mark.parametrize(("step", "left"), [(0, "old"), (1, None), (2, "new")])
def test_a_kill_at_each_step_of_a_replacement(tmp_path: Path, step: int, left: str | None) -> None:
    """Steps: before the old folder is moved, before the new one is, before the old one is deleted."""
    out = tmp_path / "out"
    out.mkdir()
    (out / MARKER).write_text("old")
    run_and_kill(tmp_path, KILLED_AT.format(step))
    assert ((out / MARKER).read_text() if out.exists() else None) == left

    with pytest.raises(KeyError), atomic_folder(out, MARKER):  # the next run, though it comes to nothing itself
        assert (out / MARKER).read_text() == ("old" if step == 0 else "new")
        raise KeyError
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]


def test_a_signal_between_the_renames_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARKER).write_text("old")
    replace = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise SystemExit(143)
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(SystemExit), atomic_folder(tmp_path / "out", MARKER):
        pass
    assert (tmp_path / "out" / MARKER).read_text() == "old"


def test_a_signal_while_the_old_folder_is_removed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = [SystemExit(143)]
    rmtree = files.shutil.rmtree

    def interrupted(*args: object, **options: object) -> None:
        if stops:
            raise stops.pop()
        rmtree(*args, **options)

    monkeypatch.setattr(files.shutil, "rmtree", interrupted)
    with pytest.raises(SystemExit), atomic_folder(tmp_path / "out", MARKER):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "out"]


def test_an_old_folder_that_cannot_be_put_back_is_kept_for_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARKER).write_text("old")
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if Path(target).name == "out":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(UserError, match="cannot be written"), atomic_folder(tmp_path / "out", MARKER) as scratch:
            (scratch / "new" / MARKER).write_text("new")
    assert not (tmp_path / "out").exists()
    with pytest.raises(KeyError), atomic_folder(tmp_path / "out", MARKER):
        raise KeyError
    assert (tmp_path / "out" / MARKER).read_text() == "new"


def test_two_replacements_of_one_folder_follow_each_other(tmp_path: Path) -> None:
    inside, most = [], []

    def replace(text: str) -> None:
        for _ in range(5):
            with atomic_folder(tmp_path / "out", MARKER) as scratch:
                inside.append(text)
                most.append(len(inside))
                for name in (MARKER, "a", "b"):
                    (scratch / "new" / name).write_text(text)
                inside.pop()

    threads = [threading.Thread(target=replace, args=(text,)) for text in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and len(most) == 15
    assert len({path.read_text() for path in (tmp_path / "out").iterdir()}) == 1


@pytest.mark.parametrize("name", [".out.mine.tmp", ".[ab].0123456789abcdef.tmp"])
def test_a_users_folder_of_a_similar_name_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for folder in ("out", "[ab]", "a"):
        with atomic_folder(tmp_path / folder, MARKER):
            pass
    assert (tmp_path / name).exists() == (name == ".out.mine.tmp")


def test_a_folder_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with atomic_folder(tmp_path / "out", MARKER) as scratch:
        (scratch / "new" / MARKER).write_text("new")
    assert (tmp_path / "out").is_symlink() and (tmp_path / "disk" / MARKER).read_text() == "new"


def test_a_relative_path_of_a_parameter_means_the_project_in_dvcs_copies_of_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, copy = tmp_path / "project", tmp_path / "project" / ".dvc" / "tmp" / "exps" / "tmp1"
    for root in (project, copy):
        (root / ".dvc").mkdir(parents=True, exist_ok=True)
        (root / "part").mkdir()
    (project / "part" / "photos").mkdir()
    for folder, expected in ((project, "photos"), (copy, str(project / "part" / "photos"))):
        monkeypatch.setenv("DVC_ROOT", str(project))
        monkeypatch.chdir(folder / "part")
        assert str(project_path("photos")) == expected
        assert project_path("photos").is_dir()
        assert str(project_path(str(tmp_path / "absent"))) == str(tmp_path / "absent")
    (copy / "part" / "photos").mkdir()  # in Git
    assert str(project_path("photos")) == "photos"
    monkeypatch.delenv("DVC_ROOT")
    assert str(project_path("absent")) == "absent"
