"""anchors.h5: what is written is read, the same bytes each time, and nothing foreign is accepted."""

import time
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest

from frcnn.anchors.label import Labels, label_image
from frcnn.anchors.targets import VARIANTS, AnchorTargets, offsets, pack_variant, read_targets, write_targets
from frcnn.errors import UserError
from frcnn.params import Anchors

ANCHORS = Anchors([32.0, 64.0], [1.0], 0.5, 0.7, 0.3, 0.0, 0.0)
GT = [np.zeros((0, 4), np.float32), np.array([[10, 10, 50, 60], [40, 8, 90, 70]], np.float32)]
RECIPE = {"split": "trainval", "annotations": "abc"}


def make() -> AnchorTargets:
    labels = [label_image(boxes, 160, 96, "vgg16", ANCHORS) for boxes in GT]
    size = np.array([[160, 96]] * 2, np.int32)
    variant = pack_variant(labels)
    return AnchorTargets(["a", "b"], ["é", "x"], size, size, offsets([0, 2]), np.array([1, 2]), variant, variant)


def test_round_trip(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), RECIPE)
    read = read_targets(tmp_path / "a.h5", RECIPE)
    assert (read.image_ids, read.class_names, len(read)) == (["a", "b"], ["é", "x"], 2)
    for mirror in (False, True):
        for index in range(2):
            (found, found_labels), (wanted, wanted_labels) = read.image(index, mirror), make().image(index, mirror)
            np.testing.assert_array_equal(found_labels, wanted_labels)
            for field in fields(Labels):
                np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name))


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), RECIPE)
    time.sleep(1.1)  # HDF5 would note seconds
    write_targets(tmp_path / "b.h5", make(), RECIPE)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_every_dataset_of_the_schema_is_there(tmp_path: Path) -> None:
    write_targets(tmp_path / "a.h5", make(), RECIPE)
    with h5py.File(tmp_path / "a.h5") as file:
        assert set(file) == {"image_id", "size_original", "size", "gt_offsets", "gt_labels", *VARIANTS}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"annotations": "xyz"}, "made for another annotations"), ({"split": "train"}, "made for another split")],
)
def test_made_from_something_else(tmp_path: Path, change: dict[str, str], message: str) -> None:
    write_targets(tmp_path / "a.h5", make(), RECIPE)
    with pytest.raises(UserError, match=message):
        read_targets(tmp_path / "a.h5", RECIPE | change)


def test_another_version_truncated_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(UserError, match="no such file; run `frcnn anchors` first"):
        read_targets(path)
    write_targets(path, make(), RECIPE)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="not a readable anchors file"):
        read_targets(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 99
    with pytest.raises(UserError, match="not an anchors file of version"):
        read_targets(path)
