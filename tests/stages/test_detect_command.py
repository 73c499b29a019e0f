from pathlib import Path

import numpy as np
import pytest

from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.detections import SplitDetections
from frcnn.detections.hdf5 import read_detections, read_with_annotations, write_detections
from frcnn.files import sha256_file
from frcnn.params import Params
from stages import detect
from tests.factories import write_random_weights

SETTINGS = ["detect.precision=float32", "detect.post_nms_topk=20", "detect.score_threshold=0", "detect.batch_size=4"]


@pytest.fixture(scope="module")
def weights(dataset: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that learned nothing."""
    return write_random_weights(tmp_path_factory.mktemp("weights") / "random.safetensors", dataset, params)


def run(dataset: Path, weights: Path, out: Path) -> None:
    detect.run(Path("demo"), SETTINGS, dataset, weights, out, device="cpu")


@pytest.fixture(scope="module")
def found(dataset: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> SplitDetections:
    path = tmp_path_factory.mktemp("found") / "d.h5"
    run(dataset, weights, path)
    return read_detections(path)


def test_provenance_tells_what_the_detections_come_from(dataset: Path, weights: Path, found: SplitDetections) -> None:
    assert (found.split, found.image_ids) == ("test", VocDataset(dataset).split("test"))
    settings = found.provenance["detect"]
    digests = {"weights": sha256_file(weights), "dataset": VocDataset(dataset).split_sha256("test")}
    assert found.provenance == digests | {"detect": settings}
    assert (settings["post_nms_topk"], settings["score_threshold"]) == (20, 0)
    assert settings["max_detections"] == 100


def test_coco_results_hold_the_same_detections(
    dataset: Path, weights: Path, found: SplitDetections, tmp_path: Path
) -> None:
    run(dataset, weights, tmp_path / "d.json")
    again, annotations = read_with_annotations(tmp_path / "d.json", VocDataset(dataset), "test", "voc")
    assert len(annotations) == 6
    assert len(found.scores) > 100
    for name in ("image_ids", "class_names", "split", "offsets", "boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    write_detections(tmp_path / "converted.json", found)
    assert (tmp_path / "converted.json").read_bytes() == (tmp_path / "d.json").read_bytes()
