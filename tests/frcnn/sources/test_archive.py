import errno
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.sources import archive as module
from frcnn.sources.archive import unpack

FILES = {"d/a.txt": b"one", "d/e/b.txt": os.urandom(5000), "empty.txt": b""}


def write_tar(path: Path, mode: str = "w", files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.xz", "a.zip"])
def test_all_is_unpacked(tmp_path: Path, name: str) -> None:
    mode = "w" if name == "a.tar" else f"w:{name.rpartition('.')[2].replace('tgz', 'gz')}"
    archive = write_zip(tmp_path / name) if name == "a.zip" else write_tar(tmp_path / name, mode)
    seen: list[int] = []
    unpack(archive, tmp_path / "out", lambda done, total: seen.append(done))
    assert content(tmp_path / "out") == FILES
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("name", ["/etc/x", "../x", "d/../../x", "..\\x", "d/.."])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_paths_outside_are_refused(tmp_path: Path, name: str, write: object) -> None:
    path = write(tmp_path / "a", files={"good": b"1", name: b"2"})  # type: ignore[operator]
    with pytest.raises(UserError, match="lies outside") as caught:
        unpack(path, tmp_path / "in" / "out")
    assert name.replace("\\", "/") in str(caught.value).replace("\\", "/")
    assert list((tmp_path / "in").iterdir()) == []
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        member = tarfile.TarInfo("odd")
        member.type, member.linkname = kind, "elsewhere"
        tar.addfile(member)
    with pytest.raises(UserError, match="member odd is a link or device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_zip_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        member = zipfile.ZipInfo("odd")
        member.external_attr = 0o120777 << 16
        file.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match="member odd is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "zip"])
@pytest.mark.parametrize("part", [0, 0.3, 0.6, 0.9])
def test_truncated_archives_are_refused(tmp_path: Path, mode: str, part: float) -> None:
    archive = write_zip(tmp_path / "a") if mode == "zip" else write_tar(tmp_path / "a", mode)
    used = 512 * 14 if mode == "w" else archive.stat().st_size  # headers and data; the rest of a tar is padding
    archive.write_bytes(archive.read_bytes()[: int(used * part)])
    with pytest.raises(UserError, match=r"a: truncated, damaged or no archive"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cut", [512 * 2, 512 * 13], ids=["between members", "inside a member"])
def test_a_tar_cut_at_a_block_is_refused(tmp_path: Path, cut: int) -> None:
    archive = write_tar(tmp_path / "a.tar")
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(UserError, match="truncated"):
        unpack(archive, tmp_path / "out")


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "a.tar")
    damaged = bytearray(archive.read_bytes())
    damaged[1024:1124] = b"?" * 100  # the second member's name: its header's checksum fails
    archive.write_bytes(damaged)
    with pytest.raises(UserError, match="damaged"):
        unpack(archive, tmp_path / "out")


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(UserError, match="no archive"):
        unpack(tmp_path / "page.html", tmp_path / "out")
    with pytest.raises(UserError, match="no such archive"):
        unpack(tmp_path / "none", tmp_path / "out")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"Rar!\x1a\x07\1\0", "RAR"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "7z"),
        (b"\x1f\x9d\x90", "compress"),
        (b"LZIP\1", "lzip"),
    ],
)
def test_archives_of_other_kinds(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "a.zip").write_bytes(start + bytes(3000))
    with pytest.raises(UserError, match=f"a.zip: {kind} is not read; make a .zip, .tar, .tar.gz") as caught:
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_changed_byte_in_the_middle_counts(tmp_path: Path, kind: str) -> None:
    path = write_tar(tmp_path / "a", f"w:{kind}")
    good = path.read_bytes()
    for place in range(len(good) // 3, len(good), len(good) // 7):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(UserError, match="truncated, damaged or no archive"):
            unpack(path, tmp_path / "out")


def write_zip_named(path: Path, *names: bytes) -> Path:
    """Write a zip whose members have names of these bytes, without the flag of UTF-8."""
    files = {f"{number}".rjust(len(name), "#"): b"x" for number, name in enumerate(names)}
    content = write_zip(path, files).read_bytes()
    for stand_in, name in zip(files, names, strict=True):
        content = content.replace(stand_in.encode(), name)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([b"VOC\\a.xml", b"VOC\\d\\b.jpg"], ["VOC/a.xml", "VOC/d/b.jpg"]),
        (["VOC/\u7167\u7247.jpg".encode(), "caf\u00e9".encode()], ["VOC/\u7167\u7247.jpg", "caf\u00e9"]),
        (["VOC/caf\u00e9.jpg".encode("cp437"), b"b"], ["VOC/caf\u00e9.jpg", "b"]),
    ],
    ids=["backslashes", "UTF-8", "cp437"],
)
def test_names_of_zip_files(tmp_path: Path, names: list[bytes], expected: list[str]) -> None:
    unpack(write_zip_named(tmp_path / "a.zip", *names), tmp_path / "out")
    assert content(tmp_path / "out") == dict.fromkeys(expected, b"x")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("\u7167\u7247", "gbk"),
        ("\uc0ac\uc9c4", "euc-kr"),
        ("\u5199\u771f", "shift_jis"),
        ("\u0444\u043e\u0442\u043e", "cp866"),
    ],
)
def test_names_in_an_unknown_encoding_are_refused(tmp_path: Path, text: str, encoding: str) -> None:
    path = write_zip_named(tmp_path / "a.zip", b"good", f"{text}1.jpg".encode(encoding))
    with pytest.raises(UserError, match=r"a.zip: member .*1.jpg: name in an unknown encoding; pack .* in UTF-8"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_disk_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    archive = write_tar(tmp_path / "a.tar")
    monkeypatch.setattr(module.tarfile.TarFile, "extract", full)
    with pytest.raises(UserError, match="No space left"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("place", [-3, -5])
def test_a_checksum_at_the_very_end_counts(tmp_path: Path, kind: str, place: int) -> None:
    """The last bytes of a compressed file are its length or checksum, which reading the members does not reach."""
    path = write_tar(tmp_path / "a", f"w:{kind}")
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="truncated, damaged or no archive"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip")
    content = path.read_bytes()
    path.write_bytes(content.replace(FILES["d/e/b.txt"][100:140], bytes(40)))
    assert path.read_bytes() != content
    with pytest.raises(UserError, match="truncated, damaged or no archive"):
        unpack(path, tmp_path / "out")


def test_damage_of_a_zip_is_never_blamed_on_the_disk(tmp_path: Path) -> None:
    """Offsets may come out negative, which the operating system refuses."""
    good = write_zip(tmp_path / "good.zip").read_bytes()
    path, refused = tmp_path / "a.zip", 0
    for place in range(good.index(b"PK\1\2"), len(good)):
        for bit in range(8):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
            try:
                unpack(path, tmp_path / f"{place}-{bit}")
            except UserError as error:
                refused += 1
                assert str(error).startswith(f"{path}: "), error
    assert refused > 500


def test_what_follows_the_end_mark_is_refused(tmp_path: Path) -> None:
    """A header that turned into zeros would else end the archive in its middle."""
    path = write_tar(tmp_path / "a.tar")
    content = bytearray(path.read_bytes())
    content[1024:1536] = bytes(512)
    path.write_bytes(content)
    with pytest.raises(UserError, match="something follows its end mark"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    path = write(tmp_path / "a")  # type: ignore[operator]
    with monkeypatch.context() as patched:
        patched.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 4000}))
        with pytest.raises(UserError, match="a: unpacks to 0.0 GB or more, 0.0 GB are free"):
            unpack(path, tmp_path / "out")
    monkeypatch.setattr(module, "MOST_MEMBERS", 2)
    with pytest.raises(UserError, match="a: more than 2 members"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        header = tarfile.TarInfo("x")
        header.type, header.size = tarfile.GNUTYPE_LONGNAME, 3 << 20
        tar.addfile(header, io.BytesIO(bytes(3 << 20)))
    with pytest.raises(UserError, match=r"(?s)a.tar.gz: .*a header of"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("name", ["a\0b", "\udcff\x1b", "x" * 300])
def test_names_that_no_file_has(tmp_path: Path, name: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name))
    try:
        unpack(tmp_path / "a.tar", tmp_path / "out")
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_members_that_are_one_file_on_this_system_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    """On macOS and Windows names that differ by case alone are one file; here every name is."""
    archive = write(tmp_path / "a.tar", files={"d/A.jpg": b"1", "d/a.jpg": b"2"})
    monkeypatch.setattr(Path, "is_file", lambda path: path.name == "a.jpg" or path == archive)
    with pytest.raises(UserError, match="member d/a.jpg: another name differs by case alone"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["a:b.jpg", "d/what?.jpg", "d./a.jpg", "a.jpg "])
def test_names_that_windows_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    archive = write_tar(tmp_path / "a.tar", files={name: b"1"})
    unpack(archive, tmp_path / "here")
    monkeypatch.setattr(module, "WINDOWS", True)
    with pytest.raises(UserError, match="Windows allows no name with"):
        unpack(archive, tmp_path / "there")
