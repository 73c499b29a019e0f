"""`frcnn anchors --render`: the targets of the first pictures, and a sheet of what training sees of them."""

from pathlib import Path

import numpy as np
import pytest

from frcnn.anchors.targets import read_targets
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import load_params
from frcnn.training.batches import Source, load_sample
from stages import anchors

CHANGES = [f"augment.geometric.{name}={{probability: 0.6, range: [0.5, 1]}}" for name in ("scale", "crop")]


def test_the_sheet_shows_what_training_sees(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[np.ndarray, Annotation]] = []

    def note(image: np.ndarray, annotation: Annotation, names: list[str]) -> np.ndarray:
        seen.append((image, annotation))
        return image

    monkeypatch.setattr("frcnn.report.drawing.draw_objects", note)
    path, folder = tmp_path / "anchors.h5", tmp_path / "renders"
    anchors.run(Path("demo"), CHANGES, dataset, path, render=3, renders=folder, workers=0)
    assert len(list(folder.iterdir())) == 4
    assert (folder / anchors.SHEET).is_file()
    targets = read_targets(path)
    source = Source(targets, VocDataset(dataset).pictures_of(targets.image_ids), load_params(Path("demo"), CHANGES))
    assert len(seen) == 3 * anchors.EPOCHS
    for place, (image, annotation) in enumerate(seen):
        index, epoch = divmod(place, anchors.EPOCHS)
        sample = load_sample(source, index, (1, epoch, index))
        assert annotation.image_id == sample.image_id
        np.testing.assert_array_equal(annotation.boxes, sample.gt_boxes)
        np.testing.assert_array_equal(annotation.labels, sample.gt_labels)
        assert np.abs(image.astype(int) - sample.image).max() <= 2  # Pillow's rounding, twice


def test_augmentation_does_not_change_the_targets(dataset: Path, tmp_path: Path) -> None:
    for preset in ("none", "strong"):
        anchors.run(Path("demo"), [f"augment.preset={preset}"], dataset, tmp_path / preset, workers=0)
    assert (tmp_path / "none").read_bytes() == (tmp_path / "strong").read_bytes()
