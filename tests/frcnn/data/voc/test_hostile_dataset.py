"""Datasets that anyone may have made: nothing outside is read, nothing hangs, every refusal is one line."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest

from frcnn.data.checks import check_dataset
from frcnn.data.voc import inside
from frcnn.data.voc.dataset import VocDataset, read_names
from frcnn.data.voc.inside import walk
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.sources.source import resolve
from tests.factories import POSIX, troubles, voc_object, write_list, write_voc

BOMB = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
PLACES = {
    "picture": "JPEGImages/a.jpg",
    "annotation": "Annotations/a.xml",
    "list": "ImageSets/Main/trainval.txt",
    "classes": "classes.txt",
}


def read(root: Path) -> list[str]:
    """Read all of a dataset; return the class names of the objects."""
    dataset = VocDataset(root)
    [annotation] = dataset.annotations("trainval", "voc")
    dataset.split_sha256("trainval")
    dataset.pictures_of(["a"])
    return [dataset.class_names[label - 1] for label in annotation.labels]


def refusal(act: Callable[[], object]) -> str:
    """Return the one line with which something is refused, within seconds."""
    found: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "hangs"
    assert found and isinstance(found[0], UserError), found
    text = str(found[0])
    assert "\n" not in text and len(text) < 1000
    return text


def dataset_with(folder: Path, content: bytes, classes: str = "caf\u00e9\n") -> Path:
    root = write_voc(folder / "d", {"a": ""}, classes)
    (root / "Annotations/a.xml").write_bytes(content)
    return root


def xml(encoding: str, name: str = "caf\u00e9", doctype: str = "") -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<annotation>{voc_object(name)}</annotation>'


@pytest.mark.parametrize(
    "name", ["utf-8", "UTF8", "latin-1", "l1", "ISO-8859-15", "cp1252", "utf-16", "cp850", "mac-roman"]
)
def test_encodings_that_are_read(tmp_path: Path, name: str) -> None:
    assert read(dataset_with(tmp_path, xml(name).encode(name))) == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("name", "text"), [("shift_jis", "犬"), ("gb18030", "狗"), ("euc-kr", "개"), ("iso2022_jp", "犬")]
)
def test_encodings_of_several_bytes_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert read(dataset_with(tmp_path, xml(name, text).encode(name), f"{text}\n")) == [text]


@pytest.mark.parametrize(
    "name",
    ["rot13", "hex", "base64", "zlib", "bz2", "uu", "quopri", "utf-7", "punycode", "idna", "undefined",
     "unicode_escape", "no-such", "utf-32", "utf-16", "utf-16-le", "cp037", "a" * 100, "os", "mbcs", ".."],
)  # fmt: skip
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_encodings_that_are_refused(tmp_path: Path, name: str, start: bytes) -> None:
    root = dataset_with(tmp_path, start + xml(name, "ring").encode(), "ring\n")
    assert f"{root}/Annotations/a.xml: " in refusal(lambda: read(root))


def test_bytes_that_are_not_in_the_declared_encoding(tmp_path: Path) -> None:
    for number, (name, byte) in enumerate(
        [("cp1252", b"\x81"), ("ascii", b"\xe9"), ("utf-8", b"\xe9"), ("gbk", b"\xff")]
    ):
        content = xml(name, "X").encode().replace(b"X", byte)
        assert "a.xml: " in refusal(lambda: read(dataset_with(tmp_path / str(number), content)))  # noqa: B023


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16"])
@pytest.mark.parametrize(
    "entities",
    [
        '<!ENTITY x "ring">',
        '<!ENTITY x SYSTEM "file:///etc/passwd">',
        f'<!ENTITY e0 "lol">{BOMB}',
        '<!ENTITY % p "">%p;',
    ],
)
def test_entities_are_refused(tmp_path: Path, entities: str, encoding: str) -> None:
    content = xml(encoding, "&x;", f"<!DOCTYPE annotation [{entities}]>").encode(encoding)
    assert "it defines entities" in refusal(lambda: read(dataset_with(tmp_path, content)))


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "1e999", "1_0", "0x10", "1,5", "", "9" * 1_000_000 + "x", "\u0661x"]
)
def test_numbers_that_are_refused(tmp_path: Path, value: str) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object(box=(value, 1, 20, 20))})
    assert "a.xml: object 1 (cat): " in refusal(lambda: read(root))


@pytest.mark.parametrize("value", ["2e1", "+20", "20.0", "1e300", "9" * 300])
def test_numbers_that_are_read(tmp_path: Path, value: str) -> None:
    root = write_voc(
        tmp_path / "d",
        {"a": f"<size><width>{value}</width><height>1e300</height></size>" + voc_object(box=(1, 1, value, 20))},
    )
    assert read(root) == ["cat"]
    assert all(len(problem.what) < 300 for problem in check_dataset(root, Params()).problems)


@pytest.mark.parametrize(
    "objects",
    [
        f"<objects>{voc_object()}</objects>",
        voc_object().replace("object>", "Object>"),
        voc_object().upper().replace("CAT", "cat"),
    ],
    ids=["deeper", "Object", "capitals"],
)
def test_objects_are_read_wherever_and_however_they_are_written(tmp_path: Path, objects: str) -> None:
    root = write_voc(tmp_path / "d", {"a": objects}, None)
    assert VocDataset(root).annotated_class_names(["a"]) == ["cat"]
    (root / "classes.txt").write_text("cat\n")
    assert read(root) == ["cat"]


@pytest.mark.parametrize("tag", ["item", "objects"])
def test_boxes_that_no_object_has_are_reported(tmp_path: Path, tag: str) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object().replace("object>", f"{tag}>") * 2 + voc_object()})
    assert "a.xml: <bndbox> outside of any <object>: 2; mend or remove" in refusal(lambda: read(root))


def test_annotations_with_a_name_in_capitals(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    (root / "Annotations/a.xml").rename(root / "Annotations/a.XML")
    (root / "ImageSets/Main/trainval.txt").rename(root / "ImageSets/Main/trainval.TXT")
    assert read(root) == ["cat"]
    (root / "Annotations/a.xml").write_text("<annotation/>")  # of two, the ordinary name counts
    assert read(root) == []
    assert troubles(root) == []


def test_enormous_and_deep_annotations(tmp_path: Path) -> None:
    large = b"<annotation>" + b" " * (16 << 20) + b"</annotation>"
    assert "larger than 16 MiB" in refusal(lambda: read(dataset_with(tmp_path / "1", large)))
    assert "malformed XML" in refusal(lambda: read(dataset_with(tmp_path / "2", b"<annotation>" + b"<a>" * 500_000)))
    name = write_voc(tmp_path / "3", {"a": voc_object("x" * 1_000_000)})
    assert "is not in the class list" in refusal(lambda: read(name))


def make_special(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)  # the path of a socket must be short
            server.bind(path.name)
            os.chdir(here)
    else:
        path.symlink_to("/dev/zero")


@POSIX
@pytest.mark.parametrize("kind", ["FIFO", "socket", "device"])
@pytest.mark.parametrize("place", PLACES)
def test_special_files_are_refused(tmp_path: Path, place: str, kind: str) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    make_special(root / PLACES[place], kind)
    assert f"{root / PLACES[place]}: is no plain file" in refusal(lambda: read(root))


@POSIX
def test_a_special_list_does_not_stop_the_search_for_lists(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    os.mkfifo(root / "ImageSets/Main/cat_trainval.txt")
    assert "is no plain file" in refusal(lambda: VocDataset(root).split_names)


def test_links_within_and_to_the_dataset_are_fine(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    (root / "JPEGImages").rename(root / "pictures")
    (root / "JPEGImages").symlink_to("pictures")
    (root / "Annotations/a.xml").rename(root / "b.xml")
    (root / "Annotations/a.xml").symlink_to("../b.xml")
    (tmp_path / "link").symlink_to("d")
    assert read(tmp_path / "link") == read(root) == ["cat"]


@pytest.mark.parametrize("place", [*PLACES.values(), "JPEGImages", "Annotations", "ImageSets", "ImageSets/Main"])
def test_links_to_elsewhere_are_followed(tmp_path: Path, place: str) -> None:
    """No archive has links, so those of a folder are its owner's."""
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    (root / place).rename(tmp_path / "elsewhere")
    (root / place).symlink_to(tmp_path / "elsewhere")
    assert read(root) == ["cat"]


def test_links_to_folders_below_the_pictures_are_followed(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    for part, file in (("JPEGImages", "a.jpg"), ("Annotations", "a.xml")):
        (tmp_path / part).mkdir()
        (root / part / file).rename(tmp_path / part / file)
        (root / part / "cam").symlink_to(tmp_path / part)
    write_list(root, "cam/a\n")
    assert [each.image_id for each in VocDataset(root).annotations("trainval", "voc")] == ["cam/a"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """Each folder comes once, whatever leads to it: a picture that came twice could be in training and test."""
    for folder, target in (
        ("d/a/up", "../.."),
        ("d/b/side", "../a"),
        ("x/back", "../d"),
        ("d/out", "../x"),
        ("d/i", "."),
    ):
        (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / folder).symlink_to(target)
    (tmp_path / "d" / "root").symlink_to("/")
    (tmp_path / "x" / "c").mkdir()
    folders = [folder.relative_to(tmp_path).as_posix() for folder, _, _ in walk(tmp_path / "d")]
    assert folders == ["d", "d/a", "d/b", "d/out", "d/out/c"]


def test_hidden_files_and_companions_of_macos_are_left_out(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "d", {"a": voc_object()})
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main", "JPEGImages/.cache", "Annotations/__MACOSX"):
        (root / folder).mkdir(exist_ok=True)
        for name in (".DS_Store", "Thumbs.db", "._a.jpg", "._a.xml", "._trainval.txt", ".b.jpg"):
            (root / folder / name).write_bytes(b"\0\5\x16\7\0")
    dataset = VocDataset(root)
    assert (dataset.split_names, list(dataset.pictures)) == (["trainval"], ["a"])
    assert read(root) == ["cat"]
    assert troubles(root) == []


@POSIX
def test_a_source_that_is_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "set.tar")
    assert "neither a folder nor a plain file" in refusal(lambda: resolve(str(tmp_path / "set.tar"), None, {}))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../../secret", "leads outside the dataset"),
        ("/etc/passwd", "leads outside the dataset"),
        ("..\\x", "leads outside the dataset"),
        ("a/../../b", "leads outside the dataset"),
        ("a\x1b[2Jb", "control characters"),
        ("a\x0cb", "control characters"),  # a line break for Python, for no editor
        ("a\u2028b", "control characters"),
        ("a\0b", "control characters"),
        ("a\tb", "control characters"),
        ("x" * 252, "longer than 251 bytes"),
        ("犬" * 90, "longer than 251 bytes"),
        ("a/" + "x" * 300, "longer than 251 bytes"),
    ],
)
def test_ids_that_are_refused(tmp_path: Path, line: str, words: str) -> None:
    root = write_voc(tmp_path / "d", {"a": ""})
    write_list(root, f"a\n{line}\n")
    text = refusal(lambda: VocDataset(root).split("trainval"))
    assert text.startswith(f"{root}/ImageSets/Main/trainval.txt: line 2: id ") and words in text


@pytest.mark.parametrize("name", ["C:/secret", "C:secret", "\\\\server\\share\\secret", "a\\..\\..\\b"])
def test_names_that_lead_outside_on_windows(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(inside, "PurePath", PureWindowsPath)
    assert inside.leads_outside(name)
    assert not inside.leads_outside("cam/a.b")


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\x85b", "a\u2029b", "a\tb", "x" * 300])
def test_class_names_that_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "classes.txt").write_text(f"cat\n{name}\n")
    assert "classes.txt: class " in refusal(lambda: read_names(tmp_path / "classes.txt"))


@pytest.mark.parametrize(
    "line", ["/a" * 5_000_000, "b " * 5_000_000, '"' * 10_000_000, "../" * 3_000_000, "JPEGImages/" * 999_999]
)
def test_enormous_lines(tmp_path: Path, line: str) -> None:
    root = write_voc(tmp_path / "d", {"a": ""})
    write_list(root, f"{line}\n")
    assert "trainval.txt: line 1: id " in refusal(lambda: VocDataset(root).split("trainval"))


def test_a_split_outside_is_refused(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "d", {"a": ""})
    (tmp_path / "secret.txt").write_text("password\n")
    assert "no such split" in refusal(lambda: VocDataset(root).split("../../../secret"))
