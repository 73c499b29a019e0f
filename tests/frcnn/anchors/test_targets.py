"""anchors.h5: what is written is read, the same bytes each time, and nothing foreign is accepted."""

import time
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest

from frcnn.anchors.label import LabeledImage, Labels, label_image
from frcnn.anchors.targets import VARIANTS, AnchorTargets, join_images, read_targets, write_targets
from frcnn.data.voc.annotation import Annotation
from frcnn.errors import UserError
from frcnn.params import Anchors
from tests.factories import edited

ANCHORS = Anchors(anchor_sizes=(32.0, 64.0), anchor_ratios=(1.0,))
GT = [np.zeros((0, 4), np.float32), np.array([[10, 10, 50, 60], [40, 8, 90, 70]], np.float32)]
PROVENANCE = {"split": "trainval", "dataset": "abc"}


def make() -> AnchorTargets:
    annotations, images = [], []
    for image_id, boxes in zip("ab", GT, strict=True):
        classes, labels = np.arange(1, len(boxes) + 1), label_image(boxes, (160, 96), "vgg16", ANCHORS)
        annotations.append(Annotation(image_id, Path(), 160, 96, boxes, classes, np.zeros(len(boxes), bool)))
        images.append(LabeledImage((160, 96), labels, labels, classes))
    return join_images(annotations, images, ["é", "x"])


def test_round_trip(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    read = read_targets(tmp_path / "a.h5", PROVENANCE)
    assert (read.image_ids, read.class_names, len(read)) == (["a", "b"], ["é", "x"], 2)
    for mirror in (False, True):
        for index in range(2):
            (found, found_labels), (wanted, wanted_labels) = read.image(index, mirror), make().image(index, mirror)
            np.testing.assert_array_equal(found_labels, wanted_labels)
            for field in fields(Labels):
                np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    time.sleep(1.1)  # HDF5 would note seconds
    write_targets(tmp_path / "b.h5", make(), PROVENANCE)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_every_dataset_of_the_schema_is_there(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"image_id", "size_original", "size", "gt_offsets", "gt_labels", *VARIANTS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "xyz"}, 'made with dataset "abc", now "xyz"; run `frcnn anchors` again'),
        ({"split": "train"}, 'made with split "trainval", now "train"'),
    ],
)
def test_made_from_something_else(tmp_path: Path, change: dict[str, str], message: str) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    with pytest.raises(UserError, match=message):
        read_targets(tmp_path / "a.h5", PROVENANCE | change)


def test_another_version_truncated_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(UserError, match="no such file; run `frcnn anchors`"):
        read_targets(path)
    write_targets(path, make(), PROVENANCE)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="damaged, cut off"):
        read_targets(path)
    path.write_bytes(whole)
    with edited(path) as file:
        file.attrs["version"] = 99
    with pytest.raises(UserError, match="not an anchors file of version"):
        read_targets(path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gt_offsets", [0, 2, 1], "offsets do not divide the objects"),
        ("gt_labels", [9], "a label names no class"),
        ("size", [[0, 5]], "the sizes are not those of pictures"),
        ("identity/gt_boxes", [[np.nan, 0, 5, 5]], "not a finite number"),
        ("mirror/positive_index", [1 << 30], "an index names no anchor"),
        ("mirror/negative_offsets", [0, 1], "offsets do not divide the anchors"),
    ],
)
def test_content_that_contradicts_itself(tmp_path: Path, name: str, values: list, message: str) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    with edited(tmp_path / "a.h5") as file:
        array = file[name][()]
        array[: len(values)] = values
        if name.endswith("offsets"):
            array = array[: len(values)]
        del file[name]
        file[name] = array
    with pytest.raises(UserError, match=message):
        read_targets(tmp_path / "a.h5")


@pytest.mark.parametrize("text", ["[1]", "7", "[1", ""])
def test_provenance_that_is_none(tmp_path: Path, text: str) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    with edited(tmp_path / "a.h5") as file:
        file.attrs["provenance"] = text
    with pytest.raises(UserError, match="not as an anchors file should be"):
        read_targets(tmp_path / "a.h5")


def test_labels_of_another_file_are_not_read(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), PROVENANCE)
    (tmp_path / "secret").write_bytes(bytes(99))
    with edited(tmp_path / "a.h5") as file:
        shape, dtype = file["gt_labels"].shape, file["gt_labels"].dtype
        del file["gt_labels"]
        file.create_dataset("gt_labels", shape, dtype, external=[(str(tmp_path / "secret"), 0, 99)])
    with pytest.raises(UserError, match="the data of gt_labels are not in the file"):
        read_targets(tmp_path / "a.h5")
