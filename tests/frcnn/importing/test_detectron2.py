"""detectron2's C4 detectors: their numbers, computed by detectron2 itself, and what is refused."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from frcnn.data.resizing.resample import resize
from frcnn.data.resizing.sizes import resized_size
from frcnn.detector.batch import pad_images
from frcnn.detector.config import DetectorConfig, detector_config
from frcnn.errors import UserError
from frcnn.importing.convert import detector_weights, fixed_parameters
from frcnn.importing.pickled import read_pickle
from frcnn.importing.recognize import recognize
from frcnn.params import Detect, load_params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import ImageInputs, image_inputs
from frcnn.pytorch.roi_pool import pool_rois
from frcnn.pytorch.weights import load_arrays
from tests.factories import change

CLASSES = list("abcde")
SETTINGS = Detect(
    pre_nms_topk=6000, post_nms_topk=1000, score_threshold=0.05, nms_threshold=0.5, max_detections=100, count_empty=True
)
CASES = {"a": ["a"], "b": ["b"], "batch": ["batch/a", "batch/b"]}


@pytest.fixture(scope="module")
def files(golden: Path) -> Path:
    return golden / "detectron2_c4"


@pytest.fixture(scope="module")
def expected(files: Path) -> dict[str, np.ndarray]:
    with np.load(files / "expected.npz") as arrays:
        return dict(arrays)


def load(path: Path) -> FasterRCNN:
    """Import a checkpoint and return the network."""
    found = recognize(path, "", None)
    params = load_params(Path("reference"), [*found.preferred, *fixed_parameters(found)])
    assert load_params(Path("default"), found.preferred).detect == SETTINGS
    config = detector_config(CLASSES, params).model_copy(update={"preprocessing": found.preprocessing})
    with torch.device("meta"):
        network = FasterRCNN(config)
    load_arrays(network, detector_weights(found, config, str(path)), str(path))
    return network.eval()


@pytest.fixture(scope="module", params=["pkl", "pth"])
def network(request: pytest.FixtureRequest, files: Path) -> FasterRCNN:
    return load(files / f"r50_c4_width16.{request.param}")


def pictures_of(case: str, expected: dict[str, np.ndarray], config: DetectorConfig) -> ImageInputs:
    images = [expected[f"{key.split('/')[-1]}/image_rgb"] for key in CASES[case]]
    return image_inputs(pad_images(images), [(image.shape[1], image.shape[0]) for image in images], config)


def close(found: Any, wanted: np.ndarray, tolerance: float) -> None:
    """Require the same shape, and values within an absolute tolerance."""
    array = np.asarray(found)
    assert array.shape == wanted.shape
    assert np.abs(array - wanted).max() <= tolerance


@pytest.mark.parametrize("case", CASES)
def test_the_network_computes_what_detectron2_does(
    network: FasterRCNN, expected: dict[str, np.ndarray], case: str
) -> None:
    pictures = pictures_of(case, expected, network.config)
    with torch.no_grad():
        inputs = network.preprocess(pictures.images, pictures.sizes)
        features = network._extract(pictures)
        proposals, real = network._propose(features, pictures, SETTINGS)
    np.testing.assert_array_equal(features.anchors.numpy(), expected[f"{case}/anchors"])
    for image, key in enumerate(CASES[case]):
        wanted = {name.removeprefix(f"{key}/"): array for name, array in expected.items() if name.startswith(f"{key}/")}
        close(inputs[image, :, :4, :4], wanted["input/corner"], 1e-4)
        close(inputs[image].mean((1, 2), dtype=torch.float64), wanted["input/mean"], 1e-4)
        close(features.maps[0][image], wanted["res4"], 2e-4)
        rows, columns = features.maps[0].shape[-2:]
        close(features.logits[image].view(rows, columns, -1).permute(2, 0, 1), wanted["rpn/logits"], 1e-4)
        close(features.deltas[image].view(rows, columns, -1).permute(2, 0, 1), wanted["rpn/deltas"], 5e-5)
        found = proposals[image][real[image]].numpy()
        same_boxes(found, wanted["proposals/boxes"], 0.01)
        first = torch.from_numpy(wanted["proposals/boxes"][None, :50])
        with torch.no_grad():
            maps = torch.from_numpy(wanted["res4"])[None]
            own = pictures._replace(grids=pictures.grids[:1])
            class_logits, deltas = network._classify([maps], own, first, torch.ones(1, 50, dtype=torch.bool))
        close(class_logits[0].roll(-1, 1), wanted["roi/class_logits"], 5e-4)
        close(deltas[0].flatten(1), wanted["roi/deltas"], 5e-3)
        if "roi/pooled_first" in wanted:
            pooled = pool_rois(maps, [grids[0] for grids in own.grids], first, network.config.model.roi_pool)
            close(pooled[0, 0], wanted["roi/pooled_first"], 2e-4)


def same_boxes(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    """Require the same boxes (n, 4), in any order."""
    assert found.shape == wanted.shape
    distance = np.abs(found[:, None] - wanted[None]).max(-1)
    assert distance.min(0).max() <= tolerance
    assert distance.min(1).max() <= tolerance


@pytest.mark.parametrize("case", CASES)
def test_the_detections_are_detectron2s(network: FasterRCNN, expected: dict[str, np.ndarray], case: str) -> None:
    pictures = pictures_of(case, expected, network.config)
    for key, (boxes, scores, labels) in zip(CASES[case], network.detect(pictures, SETTINGS), strict=True):
        np.testing.assert_array_equal(labels.numpy() - 1, expected[f"{key}/output/classes"])
        close(boxes, expected[f"{key}/output/boxes"], 0.05)
        close(scores, expected[f"{key}/output/scores"], 1e-4)


@pytest.mark.parametrize(
    "setting", ["count_empty", "proposals.mask_padding", "stride_in_1x1", "roi_pool.sampling_ratio"]
)
def test_each_setting_matters(files: Path, expected: dict[str, np.ndarray], setting: str) -> None:
    network, settings = load(files / "r50_c4_width16.pkl"), SETTINGS
    model = network.config.model
    if setting == "count_empty":
        settings = settings.model_copy(update={"count_empty": False})
    else:
        value = {"sampling_ratio": 2, "mask_padding": True, "stride_in_1x1": False}[setting.rpartition(".")[2]]
        model = change(model, {setting: value})
    changed = FasterRCNN(network.config.model_copy(update={"model": model})).eval()
    changed.load_state_dict(network.state_dict())
    [(boxes, _, _), _] = changed.detect(pictures_of("batch", expected, changed.config), settings)
    wanted = expected["batch/a/output/boxes"]
    assert boxes.shape != wanted.shape or np.abs(boxes.numpy() - wanted).max() > 0.05


def test_pictures_are_resized_as_detectron2_does(files: Path, expected: dict[str, np.ndarray]) -> None:
    data = load(files / "r50_c4_width16.pkl").config.data
    for before, after in zip(expected["resize/sizes_before"], expected["resize/sizes_after"], strict=True):
        height, width = resized_size((before[1], before[0]), data)[::-1]
        assert (height, width) == tuple(after), before
    small = data.model_copy(update={"min_size": 96, "max_size": 160})
    picture = expected["resize/picture"]
    resized = resize(picture, *resized_size((picture.shape[1], picture.shape[0]), small), small.interpolation)
    wanted = expected["resize/picture_short96_long160"]
    assert resized.shape == wanted.shape
    assert np.abs(resized.astype(int) - wanted).max() <= 1


def test_every_dialect_of_pickle(files: Path, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    whole = recognize(files / "r50_c4_width16.pkl", "", None).tensors
    dialects = [name for name in expected if name.startswith("pickle/")]
    assert len(dialects) == 5
    for name in dialects:
        path = tmp_path / "w.pkl"
        path.write_bytes(expected[name].tobytes())
        model = read_pickle(path)["model"]
        assert len(model) == 3
        for tensor, array in model.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, whole[tensor].numpy())


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return print, ("executed",)


class OtherCodec:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        import _codecs

        return _codecs.encode, ("x", "rot13")


def test_code_in_a_pickle_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pkl"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps({"model": {"a": Evil()}}, protocol=protocol))
        with pytest.raises(UserError, match=r"w.pkl: holds an object that could run code \(.*print\) and is not read"):
            recognize(path, "", None)
    path.write_bytes(pickle.dumps({"model": np.array([Evil()], object)}))
    with pytest.raises(UserError, match="could run code"):
        recognize(path, "", None)
    path.write_bytes(pickle.dumps(OtherCodec(), protocol=2))
    with pytest.raises(UserError, match="not a readable pickle"):
        recognize(path, "", None)
    assert capsys.readouterr().out == ""


def damaged(whole: bytes) -> Iterator[bytes]:
    yield whole[: len(whole) // 2]
    yield whole[:1]
    for place in range(0, len(whole), 97):
        yield whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]


def test_damaged_pickles(expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    path, refused = tmp_path / "w.pkl", 0
    for content in damaged(expected["pickle/protocol3_python3_numpy1"].tobytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match="w.pkl: "):
            recognize(path, "", None)  # three tensors are no detector, even whole
        refused += 1
    assert refused > 90


def small() -> dict[str, np.ndarray]:
    return {"backbone.stem.conv1.weight": np.zeros((16, 3, 7, 7), np.float32)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"blobs": {}}, "a file of Caffe2 or Detectron"),
        ({"model": small(), "__author__": "Caffe2"}, "a file of Caffe2 or Detectron"),
        ({"model": small(), "matching_heuristics": True}, "a backbone of detectron2 without a detector"),
        ({"model": small() | {"backbone.bottom_up.stem.conv1.weight": small()}}, "holds no state dict of tensors"),
        ({"model": {"backbone.bottom_up.x": np.zeros(1)}}, "holds a feature pyramid of detectron2; only its"),
        ({"model": small() | {"roi_heads.mask_head.x": np.zeros(1)}}, "holds Mask R-CNN of detectron2; only"),
        ({"model": small()}, "a ResNet with 0, 0, 0, 0 blocks"),
        ([1, 2], "holds no state dict of tensors"),
    ],
    ids=str,
)
def test_other_pickles(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match=f"w.pkl: {message}"):
        recognize(path, "", None)


def test_older_names_and_constants(files: Path, tmp_path: Path) -> None:
    content = read_pickle(files / "r50_c4_width16.pkl")
    assert "proposal_generator.anchor_generator.cell_anchors.0" in content["model"]
    renamed: dict[str, Tensor] = {f"module.{name}": torch.from_numpy(a) for name, a in content["model"].items()}
    renamed["module.pixel_mean"] = torch.zeros(3, 1, 1)
    torch.save({"model": renamed, "optimizer": {"state": {}}, "iteration": 7}, tmp_path / "w.pth")
    whole = load(files / "r50_c4_width16.pkl").state_dict()
    for name, tensor in load(tmp_path / "w.pth").state_dict().items():
        assert torch.equal(tensor, whole[name]), name


def test_a_missing_tensor_is_named(files: Path, tmp_path: Path) -> None:
    content = read_pickle(files / "r50_c4_width16.pkl")
    del content["model"]["roi_heads.res5.0.shortcut.norm.weight"]
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match="missing roi_heads.res5.0.shortcut.norm.weight"):
        load(tmp_path / "w.pkl")
