import dataclasses
import errno
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from frcnn.detections.detections import Detections, SplitDetections, join_detections
from frcnn.detections.hdf5 import check_agreement, read_detections, write_detections
from frcnn.errors import UserError
from tests.factories import edited

NOTHING = Detections(np.empty((0, 4)), np.empty(0), np.empty(0))
ONE = Detections(np.array([[1.5, 2, 30, 40]]), np.array([0.75]), np.array([2]))
TWO = Detections(np.array([[0, 0, 5, 5], [6, 6, 9, 9]]), np.array([0.5, 0.25]), np.array([1, 2]))
PROVENANCE = {"weights": "ab" * 32, "detect": {"score_threshold": 0.05, "max_detections": None}}


def packed(*found: Detections) -> SplitDetections:
    return join_detections([f"image{i}" for i in range(len(found))], ["bird", "кошка"], found, "test", PROVENANCE)


@pytest.mark.parametrize(
    "found", [(), (NOTHING,), (NOTHING, NOTHING), (ONE,), (ONE, NOTHING, TWO)], ids=lambda found: str(len(found))
)
def test_what_is_written_is_read(tmp_path: Path, found: tuple) -> None:
    detections = packed(*found)
    write_detections(tmp_path / "new" / "d.h5", detections)
    again = read_detections(tmp_path / "new" / "d.h5")
    for field in dataclasses.fields(SplitDetections):
        ours, theirs = getattr(detections, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(ours, theirs)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape


def test_rows_of_an_image() -> None:
    detections = packed(ONE, NOTHING, TWO)
    assert [len(detections.of_image(i)) for i in range(3)] == [1, 0, 2]
    np.testing.assert_array_equal(detections.of_image(2).boxes, TWO.boxes)
    assert detections.image_index.tolist() == [0, 2, 2]
    assert detections.of_image(2).above(0.5).labels.tolist() == [1]


def test_no_classes_and_no_images(tmp_path: Path) -> None:
    write_detections(tmp_path / "d.h5", join_detections([], [], [], "val", {}))
    assert read_detections(tmp_path / "d.h5").class_names == []


def test_same_content_gives_same_bytes(tmp_path: Path) -> None:
    write_detections(tmp_path / "first.h5", packed(ONE, TWO))
    time.sleep(1.1)  # HDF5 would note seconds
    write_detections(tmp_path / "second.h5", packed(ONE, TWO))
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()


def break_offsets(file: h5py.File) -> None:
    file["offsets"][1] = 7


def break_labels(file: h5py.File) -> None:
    file["labels"][0] = 3


def break_scores(file: h5py.File) -> None:
    file["scores"][0] = np.nan


def drop_boxes(file: h5py.File) -> None:
    del file["boxes"]


def same_ids(file: h5py.File) -> None:
    file["image_ids"][1] = file["image_ids"][0]


def later_version(file: h5py.File) -> None:
    file.attrs["version"] = 99


def other_format(file: h5py.File) -> None:
    file.attrs["format"] = "frcnn anchors"


def broken_origin(file: h5py.File) -> None:
    file.attrs["provenance"] = "[1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (break_offsets, "offsets"),
        (break_labels, "label"),
        (break_scores, "finite"),
        (drop_boxes, "boxes"),
        (same_ids, "twice"),
        (later_version, "version 99"),
        (broken_origin, "not as a detections file should be"),
        (other_format, "not a detections file"),
    ],
)
def test_changed_file_is_refused_in_one_line(tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "d.h5"
    write_detections(path, packed(ONE, TWO))
    with edited(path) as file:
        change(file)
    with pytest.raises(UserError, match=words) as caught:
        read_detections(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 600, -100], ids=["empty", "head", "half", "tail cut"])
def test_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "d.h5"
    write_detections(path, packed(ONE, TWO))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged, cut off"):
        read_detections(path)


def test_no_byte_can_change_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    write_detections(path, packed(ONE, TWO))
    whole = path.read_bytes()
    for place in np.random.default_rng(1).choice(len(whole), 200, replace=False):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(UserError, match=r"d\.h5: damaged"):
            read_detections(path)


def test_data_in_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.h5"
    (tmp_path / "secret").write_bytes(bytes(12))
    write_detections(path, packed(ONE, TWO))
    with edited(path) as file:
        del file["scores"]
        file.create_dataset("scores", (3,), np.float32, external=[(str(tmp_path / "secret"), 0, 12)])
    with pytest.raises(UserError, match="the data of scores are not in the file"):
        read_detections(path)
    with edited(path) as file:
        del file["scores"]
        file["scores"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "scores")
    with pytest.raises(UserError, match="not as a detections file should be"):
        read_detections(path)


def test_missing_file_names_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="frcnn detect"):
        read_detections(tmp_path / "none.h5")


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.h5"
    write_detections(path, packed(ONE))
    before = path.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        write_detections(path, packed(TWO))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["d.h5"]


@pytest.mark.parametrize(
    ("split", "classes", "ids", "words"),
    [
        ("val", ["bird", "кошка"], ["image0", "image1"], "split 'test', not 'val'"),
        ("test", ["кошка", "bird"], ["image0", "image1"], "classes"),
        ("test", ["bird", "кошка"], ["image0", "image1", "late"], "no entry for late"),
        ("test", ["bird", "кошка"], ["image1"], "holds image0"),
    ],
)
def test_detections_of_something_else_are_refused(split: str, classes: list, ids: list, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_agreement(Path("d.h5"), packed(ONE, TWO), split, classes, ids)


def test_agreement_in_another_order() -> None:
    check_agreement(Path("d.h5"), packed(ONE, TWO), "test", ["bird", "кошка"], ["image1", "image0"])
