"""`frcnn import-weights` from a file of another project to training and prediction, and what it refuses."""

import hashlib
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from frcnn.data.voc.dataset import VOC_CLASSES
from frcnn.detector.config import PREPROCESSING, detector_config
from frcnn.detector.run import detect_pictures
from frcnn.detector.tensor_file import read_tensors
from frcnn.detector.weights_file import read_weights
from frcnn.errors import UserError
from frcnn.importing.convert import class_names_of
from frcnn.importing.tensor_source import Recognized
from frcnn.params import Detect, Params, load_params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import load_detector
from frcnn.pytorch.weights import load_pretrained
from frcnn.training.initial_weights import read_initial
from frcnn.training.setup import Inputs, set_up
from stages.anchors import run as anchors_stage
from tests.foreign_weights import VGG_CONVOLUTIONS, constants, layer, numbers, resnet, vgg_layers


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def empty_detector(params: Params, backbone: str) -> FasterRCNN:
    """Return a network whose numbers nobody has set."""
    model = params.model.model_copy(update={"backbone": backbone})
    config = detector_config(["a"], params.model_copy(update={"model": model}))
    with torch.device("meta"):
        return FasterRCNN(config)


def reference_checkpoint(path: Path, classes: int = 20) -> None:
    """Write a ResNet-50 as the reference saves it."""
    network = resnet("resnet50")
    stages = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6}
    tensors = {}
    for name, tensor in network.state_dict().items():
        part, rest = name.split(".", 1)
        if part in stages:
            tensors[f"_stage1_feature_extractor._feature_extractor.{stages[part]}.{rest}"] = tensor
        elif part == "layer4":
            tensors[f"_stage3_detector_network._pool_to_feature_vector._layer4.{rest}"] = tensor
    rpn, head = "_stage2_region_proposal_network", "_stage3_detector_network"
    tensors |= layer(f"{rpn}._rpn_conv1", 1024, 1024, 3, 3) | layer(f"{rpn}._rpn_class", 9, 1024, 1, 1)
    tensors |= layer(f"{rpn}._rpn_boxes", 36, 1024, 1, 1)
    tensors |= layer(f"{head}._classifier", classes + 1, 2048) | layer(f"{head}._regressor", 4 * classes, 2048)
    tensors[f"{head}._regressor.weight"] = tensors[f"{head}._regressor.weight"] * 1e-3
    torch.save({"epoch": 14, "model_state_dict": tensors}, path)


@pytest.mark.slow
@torch.no_grad()
def test_keras_weights_start_a_vgg(work: Path, frcnn, reference: Params) -> None:
    """The one test with every matrix of VGG-16 in full size."""
    arrays = {}
    for _, block, number, channels_in, channels_out in VGG_CONVOLUTIONS:
        name = f"block{block}_conv{number}"
        arrays[f"{name}/kernel"] = numbers(name, 3, 3, channels_in, channels_out)
        arrays[f"{name}/bias"] = numbers(f"{name} bias", channels_out)
    arrays |= {"fc1/kernel": numbers("fc1", 25088, 4096) * 0.1, "fc1/bias": numbers("fc1 bias", 4096)}
    arrays |= {"fc2/kernel": numbers("fc2", 4096, 4096), "fc2/bias": numbers("fc2 bias", 4096)}
    with h5py.File("vgg16.bin", "w") as file:  # no name tells what it is
        for name, array in arrays.items():
            layer_name, kind = name.split("/")
            file[f"model_weights/{layer_name}/{layer_name}/{kind}:0"] = array.numpy()
    code, out, err = frcnn("import-weights", "vgg16.bin", "--out", "initial.safetensors")
    assert (code, err) == (0, "")
    assert out == (
        "initial.safetensors: initial weights for model.backbone: vgg16, from VGG-16 (caffe), Keras's model file"
    )

    model = empty_detector(reference, "vgg16").to_empty(device="cpu").eval()
    load_pretrained(model, read_initial(Path("initial.safetensors"), model.config), "here")
    pooled = torch.rand(2, 7, 7, 512)
    vector = (pooled.flatten(1) @ arrays["fc1/kernel"] + arrays["fc1/bias"]).relu()
    assert 0.1 < (vector > 0).float().mean() < 0.9
    vector = (vector @ arrays["fc2/kernel"] + arrays["fc2/bias"]).relu()
    torch.testing.assert_close(model.head(pooled.permute(0, 3, 1, 2)), vector, rtol=1e-3, atol=1e-3)
    first = model.backbone.state_dict()["features.28.weight"]
    assert torch.equal(first[3, 5, 0, 2], arrays["block5_conv3/kernel"][0, 2, 5, 3])

    for backbone in ("vgg16-torch", "resnet50"):
        with pytest.raises(UserError, match=f"made for model.backbone: vgg16, not {backbone}"):
            read_initial(Path("initial.safetensors"), empty_detector(reference, backbone).config)


def test_initial_weights_start_training(work: Path, frcnn, dataset: Path) -> None:
    network = resnet("resnet18")
    torch.save(network.state_dict(), "w.pth")
    for name in ("one", "two"):
        assert frcnn("import-weights", "w.pth", "--out", name)[0] == 0
    assert Path("one").read_bytes() == Path("two").read_bytes()
    changes = ["model.width=64", "model.weights=one", "model.norm=frozen", "model.freeze_at=2"]
    anchors_stage(Path("demo"), changes, dataset, Path("anchors.h5"), workers=0)
    params = load_params(Path("demo"), changes)
    setup = set_up(params, 1, Inputs(dataset, Path("anchors.h5"), Path("one")), "cpu")
    assert setup.provenance["start"] == hashlib.sha256(Path("one").read_bytes()).hexdigest()
    image = torch.rand(1, 3, 64, 64)
    n = network
    expected = n.layer3(n.layer2(n.layer1(n.maxpool(n.relu(n.bn1(n.conv1(image)))))))
    torch.testing.assert_close(setup.network.backbone(image)[0], expected, rtol=1e-3, atol=1e-3)


def test_a_detector_predicts_at_once(work: Path, frcnn) -> None:
    reference_checkpoint(Path("theirs"))
    code, out, err = frcnn("import-weights", "theirs", "--out", "ours", "--set", "data.min_size=96")
    assert (code, err) == (0, "")
    assert out == "ours: detector, resnet50, 20 classes, from reference checkpoint"
    provenance = {"sha256": hashlib.sha256(Path("theirs").read_bytes()).hexdigest(), "layout": "reference checkpoint"}
    assert read_tensors(Path("ours"), 0)[0]["provenance"] == provenance
    config = read_weights(Path("ours"))[0]
    assert config.class_names == tuple(VOC_CLASSES)
    assert (config.model.backbone, config.model.norm, config.model.roi_pool.op) == ("resnet50", "frozen", "pool")
    assert (config.data.min_size, config.data.max_size, config.preprocessing) == (
        96,
        None,
        PREPROCESSING["torchvision"],
    )

    Image.effect_mandelbrot((120, 100), (-2, -1.5, 1, 1.5), 50).convert("RGB").save("picture.png")
    assert frcnn("predict", "picture.png", "--weights", "ours", "--score-threshold", "0", "--device", "cpu")[0] == 0
    predicted = json.loads(Path("predictions/detections.json").read_text())[0]["detections"]
    image = np.asarray(Image.open("picture.png"))
    found = detect_pictures(load_detector(Path("ours"), "cpu"), [image], Detect(score_threshold=0))[0]
    assert len(predicted) == len(found.scores) > 0


def test_classes_of_a_list(work: Path, frcnn) -> None:
    reference_checkpoint(Path("theirs"), classes=2)
    code, _, err = frcnn("import-weights", "theirs", "--out", "ours")
    assert code == 2
    assert err.splitlines() == [
        "error: theirs: has 2 classes, and 20 names are given; name a list of its own with --classes"
    ]
    Path("classes.txt").write_text("bolt\nwing nut\n\n")
    assert frcnn("import-weights", "theirs", "--out", "ours", "--classes", "classes.txt")[0] == 0
    assert read_weights(Path("ours"))[0].class_names == ("bolt", "wing nut")


def test_a_detector_of_detectron2(work: Path, frcnn, golden: Path) -> None:
    source = str(golden / "detectron2_c4" / "r50_c4_width16.pkl")
    Path("classes.txt").write_text("a\nb\nc\nd\ne\n")
    code, out, err = frcnn(
        "import-weights", source, "--out", "ours", "--classes", "classes.txt", "-S", "data.min_size=96"
    )
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "ours: detector, resnet50, 5 classes, from detectron2's C4 checkpoint",
        "frcnn predict detects as its project does; for frcnn detect say "
        "-S detect.post_nms_topk=1000 -S detect.nms_threshold=0.5 -S detect.count_empty=true",
    ]
    config = read_weights(Path("ours"))[0]
    assert (config.model.width, config.data.min_size, config.data.max_size) == (16, 96, 1333)
    Image.effect_mandelbrot((120, 100), (-2, -1.5, 1, 1.5), 50).convert("RGB").save("picture.png")
    settings = ["--score-threshold", "0", "-S", "detect.count_empty=true", "--params", "default"]
    assert frcnn("predict", "picture.png", "--weights", "ours", "--device", "cpu", *settings)[0] == 0
    assert json.loads(Path("predictions/detections.json").read_text())[0]["detections"]


def test_a_detector_of_80_classes_is_cocos() -> None:
    bias = {"bias": torch.zeros(81)}
    names = class_names_of(Recognized("", "resnet50", PREPROCESSING["torchvision"], bias, dict, class_bias="bias"))
    assert (len(names), names[0], names[11], names[-1]) == (80, "person", "stop sign", "toothbrush")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nothing --out o", "nothing: no such file"),
        ("resnet --out resnet", "resnet: is the file to be read; choose another name with --out"),
        ("resnet --out o --classes x", "resnet: holds classification weights; --set and --classes are for detectors"),
        ("vgg --out o", "vgg: a VGG-16 whose file does not tell how pictures are prepared for it; say --preparation"),
        ("resnet --out o --preparation caffe", "resnet: expects pictures prepared as for torchvision, not caffe"),
        ("short --out o", "short: does not fit the model, nothing was loaded: missing layer2.0.conv1.weight"),
        ("detector --out o --params x.yaml", "x.yaml: No such file or directory; name a parameter file or a preset"),
        ("detector --out o --classes none", "none: not a readable text file"),
        ("detector --out o --classes twice", "twice: a is listed twice"),
        ("detector --out o --set model.backbone=resnet101", "--set: detector fixes model.backbone, model.weights,"),
        ("detector --out o --set anchors.anchor_sizes=[64,128,256]", "--set: detector fixes model.backbone"),
        ("ours --out o", "ours: not a readable file of weights saved by torch (.pth)"),
    ],
    ids=lambda value: value.split(":")[0][:40],
)
def test_what_is_refused(work: Path, frcnn, arguments: str, message: str) -> None:
    with torch.device("meta"):
        shapes = resnet("resnet18").state_dict()
    torch.save(constants(shapes), "resnet")
    torch.save({name: t for name, t in constants(shapes).items() if name != "layer2.0.conv1.weight"}, "short")
    torch.save(constants(vgg_layers("features.{index}", "classifier.0", "classifier.3")), "vgg")
    torch.save(constants({"extractor.0.weight": torch.empty(64, 3, 3, 3), "head.score.bias": torch.empty(21)}), "d")
    torch.save({"model": torch.load("d"), "config": {"caffe_pretrain": True}}, "detector")
    Path("twice").write_text("a\na\n")
    Path("ours").write_bytes((2).to_bytes(8, "little") + b"{}")
    before = sorted(work.iterdir())
    code, out, err = frcnn("import-weights", *arguments.split())
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert len(err.splitlines()) == 1
    assert sorted(work.iterdir()) == before
