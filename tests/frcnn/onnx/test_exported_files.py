"""Files as `export` writes them, run by onnxruntime and by torch."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from frcnn.detector.run import detect_pictures
from frcnn.errors import UserError
from frcnn.frameworks import load_detector, read_validation
from frcnn.onnx import exporting
from frcnn.onnx.exporting import BOX_TOLERANCE, SCORE_TOLERANCE, Agreement, Exported, compare, export
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector
from tests.factories import ROOT, change
from tests.frcnn.onnx.slim import picture, slim_detector

pytestmark = pytest.mark.slow
HEADER = {"provenance": {"weights": "0" * 64}, "validation": {"score": 0.25}}
# Prints what a file finds in a picture, in a process that can import only what docs/onnx.md names.
WITHOUT_TORCH = """
import sys
for name in (
    "torch", "torchvision", "dvc", "typer", "h5py", "pandas", "rich", "safetensors", "matplotlib", "faster_coco_eval",
    "jinja2", "platformdirs", "psutil", "ruamel", "onnx", "onnxscript",
):
    sys.modules[name] = None
import json
import numpy as np
import frcnn
from frcnn.detector.run import detect_pictures
detector = frcnn.load(sys.argv[1])
[found] = detect_pictures(detector, [np.load(sys.argv[2])], detector.config.postprocessing)
print(json.dumps([found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()]))
"""


@pytest.fixture(scope="module")
def patch() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def model(params: Params, patch: pytest.MonkeyPatch) -> FasterRCNN:
    return slim_detector(params, "resnet18", patch)


@pytest.fixture(scope="module")
def file(params: Params, model: FasterRCNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a ResNet-C4, with resizing."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    agreement = export(Exported(model, params.detect, True, HEADER), "onnx", path, picture(100, 160, 1))
    assert agreement.compared > 0
    return path


def require_same(path: Path, model: FasterRCNN, params: Params, sizes: list[tuple[int, int]]) -> None:
    """Compare with the network on pictures of these (height, width)."""
    ours, exported = TorchDetector(model, torch.device("cpu")), load_detector(path, "cpu", "torch")
    for seed, (height, width) in enumerate(sizes):
        image = picture(height, width, seed)
        [wanted], [found] = (detect_pictures(each, [image], params.detect) for each in (ours, exported))
        agreement = compare(found, wanted, params.detect)
        assert agreement.compared > 0
        assert agreement.box < BOX_TOLERANCE
        assert agreement.score < SCORE_TOLERANCE


def test_a_resnet_finds_the_same_in_pictures_of_any_size(file: Path, model: FasterRCNN, params: Params) -> None:
    require_same(file, model, params, [(77, 130), (200, 150), (128, 128), (40, 300)])


@pytest.mark.parametrize(
    ("backbone", "values", "resizes"),
    [
        ("vgg16", {"model.roi_pool.op": "pool"}, True),
        ("mobilenet-v3-fpn", {"data.size_divisor": 32, "data.antialias": False}, False),
    ],
)
def test_the_others_do_so_too(
    backbone: str, values: Mapping[str, Any], resizes: bool, params: Params, patch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    params = change(params, values)
    model = slim_detector(params, backbone, patch)
    export(Exported(model, params.detect, resizes, HEADER), "onnx", tmp_path / "m.onnx", picture(100, 160, 1))
    require_same(tmp_path / "m.onnx", model, params, [(90, 140), (150, 120)])


def test_several_pictures_at_once_are_as_one_by_one(file: Path) -> None:
    session = onnxruntime.InferenceSession(file)
    pictures = np.stack([picture(90, 120, seed) for seed in (1, 2, 3)])
    together = session.run(None, {"images": pictures})
    for number, image in enumerate(pictures):
        for wanted, found in zip(session.run(None, {"images": image[None]}), together, strict=True):
            np.testing.assert_allclose(found[number], wanted[0], atol=1e-3)


def test_names_metadata_and_validation(file: Path, params: Params) -> None:
    session = onnxruntime.InferenceSession(file)
    [images] = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["pictures", "height", "width", 3])
    assert [each.name for each in session.get_outputs()] == ["boxes", "scores", "labels", "counts"]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["classes"]) == ["a", "b", "c"]
    header = json.loads(metadata["frcnn"])
    assert header["provenance"] == HEADER["provenance"]
    assert header["config"]["postprocessing"]["post_nms_topk"] == params.detect.post_nms_topk
    assert read_validation(file) == {"score": 0.25}


def test_it_detects_without_torch(file: Path, params: Params, tmp_path: Path) -> None:
    image = picture(100, 160, 1)
    np.save(tmp_path / "picture.npy", image)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(file), str(tmp_path / "picture.npy")],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    boxes, scores, labels = json.loads(done.stdout)
    [wanted] = detect_pictures(load_detector(file, "cpu", "torch"), [image], params.detect)
    assert labels == wanted.labels.tolist() != []
    np.testing.assert_allclose(boxes, wanted.boxes, atol=1e-3)
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-5)


def test_stricter_settings_are_used_and_others_refused(file: Path, model: FasterRCNN, params: Params) -> None:
    image, detector = picture(100, 160, 1), load_detector(file, "cpu", "torch")
    stricter = change(params.detect, {"score_threshold": 0.2, "max_detections": 4})
    [wanted] = detect_pictures(TorchDetector(model, torch.device("cpu")), [image], stricter)
    [found] = detect_pictures(detector, [image], stricter)
    assert found.labels.tolist() == wanted.labels.tolist() != []
    for key, value in {"nms_threshold": 0.9, "score_threshold": 0.01, "max_detections": None}.items():
        with pytest.raises(UserError, match=f"model.onnx: detect.{key}: exported with"):
            detect_pictures(detector, [image], change(params.detect, {key: value}))
    for half in ("bf16", "fp16"):
        with pytest.raises(UserError, match=f"{half} is not in the file"):
            detect_pictures(detector, [image], params.detect, half)


def test_an_archive_finds_the_same(model: FasterRCNN, params: Params, tmp_path: Path) -> None:
    path, image = tmp_path / "model.pt2", picture(100, 160, 1)
    agreement = export(Exported(model, params.detect, False, HEADER), "pt2", path, image)
    assert agreement.compared > 0
    extra = {"frcnn.json": ""}
    program = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["frcnn.json"])["schema"] == "frcnn-onnx"
    wanted = TorchDetector(model, torch.device("cpu")).detect([picture(130, 170, 2)] * 3, params.detect)
    with torch.no_grad():
        boxes, _, _, counts = program(torch.from_numpy(np.stack([picture(130, 170, 2)] * 3)))
    for number, own in enumerate(wanted):
        np.testing.assert_allclose(boxes[number, : counts[number]], own.boxes, atol=1e-3)


@pytest.mark.parametrize(
    ("change_parts", "error", "text"),
    [
        (lambda patch: patch.setattr(exporting, "compare", lambda *_: Agreement(0.02, 0, 3)), RuntimeError, "0.02 px"),
        (lambda patch: None, UserError, "nothing with a score above 1 is in the picture"),
    ],
)
def test_what_is_not_verified_is_not_written(
    change_parts: Callable[[pytest.MonkeyPatch], None],
    error: type[Exception],
    text: str,
    model: FasterRCNN,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    change_parts(monkeypatch)
    monkeypatch.setattr(exporting, "_write_archive", lambda exported, path, text: path.write_bytes(b"x"))
    monkeypatch.setattr(torch.export, "load", lambda file: ExportedStub())
    settings = change(params.detect, {"score_threshold": 1.0} if error is UserError else {})
    with pytest.raises(error, match=text):
        export(Exported(model, settings, False, HEADER), "pt2", tmp_path / "model.pt2", picture(100, 160, 1))
    assert list(tmp_path.iterdir()) == []


class ExportedStub:
    """An archive that finds nothing."""

    def module(self) -> Callable[..., tuple[torch.Tensor, ...]]:
        """Return the program."""
        return lambda images: (torch.zeros(1, 9, 4), torch.zeros(1, 9), torch.zeros(1, 9).long(), torch.zeros(1).long())


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(UserError, match=r"model.onnx: no such file; write it with frcnn export"):
        load_detector(path, "cpu", "torch")
    path.write_bytes(content)
    with pytest.raises(UserError, match="model.onnx: not a"):
        load_detector(path, "cpu", "torch")


@pytest.mark.parametrize(("device", "text"), [("tpu", "not a device"), ("cuda", "has no CUDA"), ("cpu:x", "not a")])
def test_devices_that_are_not_there(device: str, text: str, file: Path) -> None:
    with pytest.raises(UserError, match=f"--device {device}: .*{text}"):
        load_detector(file, device, "torch")
