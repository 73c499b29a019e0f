"""ImageNet weights start backbone and head, from torch's files and our own, and nothing that does not fit is loaded."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from frcnn.detector.config import PREPROCESSING
from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pretrained import imagenet_weights
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import arrays_of, load_pretrained
from frcnn.training.initial_weights import SCHEMA, read_initial, read_torch, write_initial
from tests.factories import build


def start(model: FasterRCNN, path: Path) -> None:
    """Give a network the initial weights of a file."""
    load_pretrained(model, read_initial(path, model.config), str(path))


def test_torchvision_weights_start_backbone_and_head(params: Params, tmp_path: Path) -> None:
    source = torchvision.models.resnet18()
    tensors = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in source.state_dict().items()}
    torch.save(tensors, tmp_path / "resnet18.pth")
    for norm in ("frozen", "trained"):
        model = build(params, {"width": 64, "norm": norm})
        start(model, tmp_path / "resnet18.pth")
        torch.testing.assert_close(
            model.backbone.state_dict()["layer3.1.conv2.weight"], tensors["layer3.1.conv2.weight"]
        )
        torch.testing.assert_close(model.backbone.state_dict()["bn1.running_var"], tensors["bn1.running_var"])
        torch.testing.assert_close(model.head.state_dict()["layer4.0.conv1.weight"], tensors["layer4.0.conv1.weight"])


@pytest.mark.slow
def test_vgg_weights_give_torchvisions_features(params: Params, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = torchvision.models.vgg16().eval()
    torch.save(source.state_dict(), tmp_path / "vgg16.pth")
    model = build(params, {"backbone": "vgg16-torch"}).eval()
    start(model, tmp_path / "vgg16.pth")
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model.backbone(image)[0], source.features[:30](image))
    pooled = torch.rand(2, 512, 7, 7)
    torch.testing.assert_close(model.head(pooled), source.classifier[:6](pooled.flatten(1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("layer2.0.conv1.weight"), "missing layer2.0.conv1.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "unexpected extra"),
        (lambda t: t.update({"conv1.weight": torch.zeros(1)}), r"conv1.weight is \(1,\), expected \(64, 3, 7, 7\)"),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_weights_that_do_not_fit_load_nothing(params: Params, tmp_path: Path, change, message: str) -> None:
    tensors = torchvision.models.resnet18().state_dict()
    change(tensors)
    torch.save(tensors, tmp_path / "w.pth")
    model = build(params, {"width": 64})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        start(model, tmp_path / "w.pth")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Evil:
    """Something that would run when unpickled."""

    def __reduce__(self):
        """Name a call."""
        return print, ("executed",)


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, Evil(), [1, 2]], ids=["empty", "garbage", "code", "list"])
def test_a_file_that_is_no_state_dict(params: Params, tmp_path: Path, content, capsys) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"w\.pth"):
        start(build(params), path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_checkpoint_of_a_parallel_training(params: Params, tmp_path: Path, key: str) -> None:
    source = torchvision.models.resnet18().state_dict()
    torch.save({key: {f"module.{name}": t for name, t in source.items()}, "epoch": 3}, tmp_path / "w.pth")
    model = build(params, {"width": 64})
    start(model, tmp_path / "w.pth")
    assert torch.equal(model.backbone.state_dict()["conv1.weight"], source["conv1.weight"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "net": {"a": torch.ones(1)}}, "`model`, but epoch, net; save its tensors alone"),
        ([1], "but list;"),
    ],
)
def test_what_another_checkpoint_holds_is_told(params: Params, tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UserError, match=f"holds no state dict of tensors, .*{words}"):
        start(build(params), tmp_path / "w.pth")


def test_another_width_is_named(params: Params, tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="w.pth: made for model.width: 64, not 32; set model.width: 64"):
        start(build(params, {"width": 32}), tmp_path / "w.pth")


def test_damage_that_surfaces_late(tmp_path: Path) -> None:
    """PyTorch then raises AssertionError, TypeError and others, or warns of another protocol of pickle."""
    torch.save({f"layer{i}": torch.full((2,), float(i)) for i in range(3)}, tmp_path / "good.pth")
    whole = (tmp_path / "good.pth").read_bytes()
    path, refused = tmp_path / "w.pth", 0
    for place in range(0, len(whole), 5):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with warnings.catch_warnings(action="error"):
            try:
                read_torch(path)
            except UserError:
                refused += 1
    assert refused > 100


def write_ours(path: Path, **changes: Any) -> dict[str, np.ndarray]:
    """Write a ResNet-18's initial weights as `frcnn import-weights` does."""
    names = torchvision.models.resnet18().state_dict()
    weights = {
        name: torch.rand_like(tensor).numpy()
        for name, tensor in names.items()
        if not name.startswith("fc.") and tensor.is_floating_point()
    }
    about = {"backbone": "resnet18", "preprocessing": PREPROCESSING["torchvision"]}
    write_initial(path, weights, **about | {"provenance": {"sha256": "0", "layout": "a"}} | changes)
    return weights


def test_initial_weights_of_our_own(params: Params, tmp_path: Path) -> None:
    weights = write_ours(tmp_path / "w")
    model = build(params, {"width": 64})
    start(model, tmp_path / "w")
    for part in (model.backbone, model.head):
        for name, array in arrays_of(part).items():
            assert name.endswith("num_batches_tracked") or np.array_equal(array, weights[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet34"}, "made for model.backbone: resnet34, not resnet18"),
        (
            {"preprocessing": PREPROCESSING["caffe"]},
            "expects other preprocessing of pictures than resnet18 has here",
        ),
    ],
    ids=["backbone", "preprocessing"],
)
def test_initial_weights_for_something_else(params: Params, tmp_path: Path, changes: dict, message: str) -> None:
    write_ours(tmp_path / "w", **changes)
    with pytest.raises(UserError, match=message):
        start(build(params, {"width": 64}), tmp_path / "w")


def test_a_header_that_lacks_its_keys(params: Params, tmp_path: Path) -> None:
    header = {"schema": SCHEMA, "version": 1}
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w", {"frcnn": json.dumps(header)})
    with pytest.raises(UserError, match="made for model.backbone: None, not resnet18"):
        start(build(params, {"width": 64}), tmp_path / "w")
    header |= {"backbone": "resnet18"}
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w", {"frcnn": json.dumps(header)})
    with pytest.raises(UserError, match="w: "):
        start(build(params, {"width": 64}), tmp_path / "w")


def test_a_safetensors_file_that_is_no_initial_weights(params: Params, tmp_path: Path) -> None:
    model, path = build(params), tmp_path / "w"
    write_weights(path, model.config, arrays_of(model), {})
    with pytest.raises(UserError, match=r"not initial weights of version 1 to 2 \(frcnn-weights\)"):
        start(model, path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=r"not initial weights of version 1 to 2 \(no schema\)"):
        start(model, path)
    path.write_bytes((1000).to_bytes(8, "little") + b"{ broken")
    with pytest.raises(UserError, match="not a readable weights file"):
        start(model, path)


def test_a_float_of_numpy_is_read_and_other_objects_are_not(tmp_path: Path) -> None:
    """Checkpoints hold such floats beside the tensors; NumPy 1 named what unpickles them otherwise."""
    path = tmp_path / "w.pth"
    torch.save({"map": np.float64(0.75)}, path, _use_new_zipfile_serialization=False)
    assert read_torch(path) == {"map": 0.75}
    older = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert older != path.read_bytes()
    path.write_bytes(older)
    assert read_torch(path) == {"map": 0.75}
    torch.save({"map": Evil()}, path)
    with pytest.raises(UserError, match=r"w\.pth: holds objects that could run code \(print\) and is not read"):
        read_torch(path)
    with pytest.raises(UserError, match=r"gone: no such file of weights"):
        read_torch(tmp_path / "gone")


@pytest.mark.parametrize("backbone", ["vgg16-torch", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_the_addresses_of_torchvisions_weights(backbone: str) -> None:
    file = imagenet_weights(backbone)
    [url], digest = file.urls, str(file.sha256)
    assert url.startswith("https://")
    assert len(digest) == 8
    int(digest, 16)
