from pathlib import Path

import numpy as np
import pytest

from frcnn.data.voc.dataset import read_classes, read_split
from frcnn.data.voc.digest import split_sha256
from frcnn.detections.hdf5 import Detections, read_detections, read_with_annotations, write_detections
from frcnn.detector.config import DetectorConfig, preprocessing_of
from frcnn.files import sha256_file
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import save_weights
from stages import detect

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = ["detect.precision=float32", "detect.post_nms_topk=20", "detect.score_threshold=0", "detect.batch_size=4"]


@pytest.fixture(scope="module")
def weights(dataset: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a network that learnt nothing."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    names = read_classes(dataset)
    config = DetectorConfig(names, params.model, params.anchors, params.data, preprocessing_of("resnet18"))
    save_weights(path, config, FasterRCNN(config).state_dict(), {})
    return path


def run(dataset: Path, weights: Path, out: Path) -> None:
    detect.run(ROOT / "params.demo.yaml", SETTINGS, dataset, weights, out, "cpu")


@pytest.fixture(scope="module")
def found(dataset: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Detections:
    path = tmp_path_factory.mktemp("found") / "d.h5"
    run(dataset, weights, path)
    return read_detections(path)


def test_says_what_the_detections_were_made_from(dataset: Path, weights: Path, found: Detections) -> None:
    assert (found.split, found.image_ids) == ("test", read_split(dataset, "test"))
    settings = found.made_from["detect"]
    digests = {"weights": sha256_file(weights), "dataset": split_sha256(dataset, "test")}
    assert found.made_from == digests | {"detect": settings}
    assert (settings["post_nms_topk"], settings["score_threshold"]) == (20, 0)
    assert settings["max_detections"] == 100


def test_coco_results_hold_the_same_detections(dataset: Path, weights: Path, found: Detections, tmp_path: Path) -> None:
    run(dataset, weights, tmp_path / "d.json")
    again, annotations = read_with_annotations(tmp_path / "d.json", dataset, "test", "voc")
    assert len(annotations) == 6
    assert len(found.scores) > 100
    for name in ("image_ids", "class_names", "split", "offsets", "boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    write_detections(tmp_path / "converted.json", found)
    assert (tmp_path / "converted.json").read_bytes() == (tmp_path / "d.json").read_bytes()
