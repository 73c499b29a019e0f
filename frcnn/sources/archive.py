"""Unpack archives (tar, compressed tar, zip), refusing what could reach outside the folder."""

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from frcnn.data.voc.inside import leads_outside
from frcnn.errors import UserError

BLOCK = 512  # bytes of a tar block; an archive ends with blocks of zeros
CHUNK = 1 << 20
LONGEST_HEADER = 1 << 20  # bytes of a member's extended header
MOST_MEMBERS = 5_000_000
# ValueError: names that no text or no file can be.
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, struct.error, RuntimeError, ValueError,
)  # fmt: skip
SIGNATURES = {  # of archives that are not read
    b"Rar!\x1a\x07": "RAR", b"7z\xbc\xaf\x27\x1c": "7z", b"\x28\xb5\x2f\xfd": "Zstandard", b"\x1f\x9d": "compress",
    b"\x04\x22\x4d\x18": "LZ4", b"LZIP": "lzip", b"MSCF": "CAB",
}  # fmt: skip
NO_LATIN = re.compile("[^\0-\x7f\u00c0-\u024f]")  # what most letters of other encodings are in cp437
WINDOWS = os.name == "nt"
REFUSED_BY_WINDOWS = re.compile(r'[<>:"|?*]|[. ](?=/|$)')
UTF8 = 0x800  # flag of a zip's member
Progress = Callable[[int, int | None], None]


def unpack(archive: Path, folder: Path, on_progress: Progress | None = None) -> None:
    """Unpack an archive into a new folder.

    Args:
        archive: .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip, recognized by content.
        folder: must not exist.
        on_progress: called with (members done, members in all, if known).

    Raises:
        UserError: not an archive, one of another kind, truncated or damaged, names in an unknown encoding, more members
            than `MOST_MEMBERS`, larger than the free space, or a member that is a link, a device, or has an absolute
            path or one with "..": `folder` is removed.
    """
    if not archive.is_file():
        raise UserError(f"{archive}: no such archive")
    report = on_progress or _ignore
    try:
        folder.mkdir(parents=True)
        if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
            _unpack_zip(archive, folder, report)
        else:
            _unpack_tar(archive, folder, report)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        # An error of bzip2 or gzip is an OSError too, without a number; EINVAL: an offset in the file is negative.
        if isinstance(error, DAMAGED) or (isinstance(error, OSError) and error.errno in (None, errno.EINVAL)):
            raise _refusal(archive, error) from error
        if isinstance(error, OSError):
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
        raise


def _refusal(archive: Path, error: BaseException) -> UserError:
    with archive.open("rb") as file:
        start = file.read(BLOCK)
    if kind := next((kind for signature, kind in SIGNATURES.items() if start.startswith(signature)), None):
        return UserError(f"{archive}: {kind} is not read; make a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz of its files")
    archived = start.startswith((b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")) or b"ustar" in start
    reason = error if archived else "its content is neither a tar nor a zip"
    return UserError(f"{archive}: truncated, damaged or no archive: {reason}; fetch it again")


class _Member(tarfile.TarInfo):
    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """Read the header, and refuse one that would fill the memory."""
        if not (self.isreg() or self.isdir()) and self.size > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc]


def _unpack_tar(archive: Path, folder: Path, report: Progress) -> None:
    free, total, names = shutil.disk_usage(folder).free, 0, set[str]()
    with tarfile.open(archive, tarinfo=_Member) as tar:
        for done, member in enumerate(tar, 1):
            _check_name(archive, member.name)
            if not (member.isreg() or member.isdir()):
                raise UserError(f"{archive}: member {member.name} is a link or device; make an archive of plain files")
            total += member.size
            _check_size(archive, done, total, free)
            _require_own_name(archive, folder, member.name, names)
            tar.extract(member, folder, set_attrs=False, filter="data")
            report(done, None)
        # tarfile takes a damaged header or an end between two members for the end of the archive
        assert tar.fileobj is not None
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(BLOCK) != bytes(BLOCK):
            raise tarfile.ReadError("no end mark")
        _require_zeros(tar.fileobj)


def _require_zeros(rest: Any) -> None:
    """Read to the very end, where compressed files have their checksum; only a little padding may be there."""
    padding = rest.read(CHUNK)
    if padding.strip(b"\0") or rest.read(1):
        raise tarfile.ReadError("something follows its end mark")


def _unpack_zip(archive: Path, folder: Path, report: Progress) -> None:
    with zipfile.ZipFile(archive) as file:
        members, names = file.infolist(), set[str]()
        _mend_names(archive, members)
        _check_size(archive, len(members), sum(each.file_size for each in members), shutil.disk_usage(folder).free)
        for done, member in enumerate(members, 1):
            _check_name(archive, member.filename)
            if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UserError(f"{archive}: member {member.filename} is a link or device; make one of plain files")
            _require_own_name(archive, folder, member.filename, names)
            file.extract(member, folder)
            report(done, len(members))


def _mend_names(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Read names that state no encoding as UTF-8 or else cp437, and backslashes, as of PowerShell 5, as slashes."""
    unstated = [
        each
        for each in members
        if not each.flag_bits & UTF8 and each.filename == each.orig_filename.replace(os.sep, "/")
    ]
    try:
        for each in unstated:
            each.filename.encode("cp437").decode()
        encoding = "utf-8"
    except UnicodeDecodeError:
        encoding = "cp437"
        if odd := next((each for each in unstated if NO_LATIN.search(each.filename)), None):
            raise UserError(
                f"{archive}: member {odd.filename}: name in an unknown encoding; pack the files again with names in "
                "UTF-8, or unpack the archive where it was made and name the folder"
            ) from None
    for each in unstated:
        each.filename = each.filename.encode("cp437").decode(encoding)
    for each in members:
        each.filename = each.filename.replace("\\", "/")


def _check_size(archive: Path, members: int, total: int, free: int) -> None:
    if members > MOST_MEMBERS:
        raise UserError(f"{archive}: more than {MOST_MEMBERS:,} members; make several archives")
    if total > free:
        raise UserError(f"{archive}: unpacks to {total / 1e9:.1f} GB or more, {free / 1e9:.1f} GB are free; make room")


def _check_name(archive: Path, name: str) -> None:
    if WINDOWS and (bad := REFUSED_BY_WINDOWS.search(name)):
        raise UserError(f"{archive}: member {name}: Windows allows no name with {bad[0]!r} there; rename it")
    if leads_outside(name):
        raise UserError(f"{archive}: member {name} lies outside the archive's folder; nothing was unpacked")


def _require_own_name(archive: Path, folder: Path, name: str, names: set[str]) -> None:
    """Refuse a member that would replace one of another name, where names that differ by case are the same."""
    name = PurePosixPath(name).as_posix()
    if name not in names and (folder / name).is_file():
        raise UserError(f"{archive}: member {name}: another name differs by case alone; unpack it on Linux, or rename")
    names.add(name)


def _ignore(done: int, total: int | None) -> None:
    """Report no progress."""
