"""Detectors trained on COCO by name: fetched, verified, converted once, refused where they do not fit."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import detection

import frcnn
from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import read_weights
from frcnn.errors import UserError
from frcnn.fetching.cache import cache_folder
from frcnn.fetching.published import Published
from frcnn.frameworks import network_from_detector
from frcnn.importing.published_detectors import NAMES, coco_detector, find_coco_start, find_detector
from frcnn.importing.torchvision_detectors import COCO_CLASSES
from frcnn.params import Detect, Model, load_params
from frcnn.pretrained import coco_weights
from frcnn.pytorch.weights import arrays_of
from tests.factories import FolderHandler, serve


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a random detector of torchvision under a name such as torchvision gives, and an empty cache."""
    torch.manual_seed(0)
    state = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).state_dict()
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save(state, folder / "model.pth")
    digest = hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    path = (folder / "model.pth").rename(folder / f"fasterrcnn-{digest[:8]}.pth")
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    with serve(partial(FolderHandler, directory=folder)) as address:
        here = Published(path.name, (f"{address}/{path.name}",), digest[:8])
        for module in ("frcnn.importing.published_detectors", "frcnn.importing.torchvision_detectors"):
            monkeypatch.setattr(f"{module}.coco_weights", lambda backbone: here)
        yield path


def model(*overrides: str) -> Model:
    return load_params(Path("default"), ["model.weights=coco", *overrides]).model


def test_the_published_files_are_those_that_torchvision_names() -> None:
    files = {name: coco_weights(backbone) for name, backbone in NAMES.items()}
    assert files["coco-resnet50"].name == "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
    assert files["coco-resnet50-v2"].sha256 == "dd69338a"
    assert all(file.urls[0].startswith("https://download.pytorch.org/models/") for file in files.values())
    assert len({file.name for file in files.values()}) == 4
    assert len(COCO_CLASSES) == 80
    assert COCO_CLASSES[0] == "person"
    assert COCO_CLASSES[-1] == "toothbrush"


def test_fetched_once_and_converted_once(served: Path) -> None:
    path = coco_detector("coco-mobilenet-320")
    config, weights = read_weights(path)
    assert config.model.backbone == "mobilenet-v3-320-fpn"
    assert list(config.class_names) == COCO_CLASSES
    assert config.postprocessing is not None
    assert (config.postprocessing.pre_nms_topk, config.postprocessing.nms_threshold) == (150, 0.5)
    assert weights["predictor.classes.bias"].shape == (81,)
    stamp = path.stat().st_mtime_ns
    served.unlink()  # from here on everything comes from the cache
    assert coco_detector("coco-mobilenet-320") == path
    assert find_coco_start(model("model.backbone=mobilenet-v3-320-fpn")) == path
    assert path.stat().st_mtime_ns == stamp


def test_training_starts_from_it_by_the_names_of_classes(served: Path) -> None:
    texts = ["anchors.anchor_sizes=[32,64,128,256,512]", "model.backbone=mobilenet-v3-320-fpn", "model.weights=coco"]
    params = load_params(Path("default"), texts)
    path = find_coco_start(params.model)
    network, sentence = network_from_detector(detector_config(["dog", "dust", "cat"], params), 1, path)
    assert sentence.endswith(
        "backbone, RPN and head, 2 of 80 classes (dog, cat); random: class dust; it was trained with "
        "data.min_size: 320, anchors.anchor_offset: 0.0, model.roi_pool.aligned: false"
    )
    _, theirs = read_weights(path)
    ours = arrays_of(network)
    np.testing.assert_array_equal(
        ours["predictor.classes.weight"][1], theirs["predictor.classes.weight"][1 + COCO_CLASSES.index("dog")]
    )
    np.testing.assert_array_equal(ours["rpn.objectness.weight"], theirs["rpn.objectness.weight"])


def test_load_by_name(served: Path) -> None:
    detector = frcnn.load("coco-mobilenet-320", device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    [found] = detector.detect([picture], Detect(score_threshold=0.0))
    assert len(found) > 0
    assert detector.config.class_names[0] == "person"
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        frcnn.lode  # noqa: B018


def test_a_path_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("coco").touch()
    assert find_detector(Path("coco")) == Path("coco")
    assert find_detector(Path("other.safetensors")) == Path("other.safetensors")
    with pytest.raises(UserError, match="coco-foo: no such file or name; choose from coco, coco-mobilenet-320, "):
        find_detector(Path("coco-foo"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), r"model.weights: coco is for a backbone with a pyramid \(mobilenet.*\), not vgg16"),
        (
            ("model.backbone=resnet50-fpn", "model.weights=coco-mobilenet"),
            "model.weights: coco-mobilenet is for model.backbone: mobilenet-v3-fpn; set that",
        ),
    ],
)
def test_a_backbone_that_does_not_fit(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_coco_start(model(*overrides))


def test_a_file_of_other_content(served: Path) -> None:
    served.write_bytes(served.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="wrong checksum"):
        coco_detector("coco-mobilenet-320")
    assert not list(cache_folder().glob("*.pth"))
    assert not list(cache_folder().glob("*.safetensors"))


def test_a_file_of_another_network(served: Path) -> None:
    with pytest.raises(UserError, match=r"holds torchvision's mobilenet-v3-320-fpn, not resnet50-fpn; remove it"):
        coco_detector("coco-resnet50")
