"""Weights under torchvision's names, what tells how pictures are prepared for them, and files of other kinds."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from frcnn.detector.config import PREPROCESSING
from frcnn.errors import UserError
from frcnn.fetching.published import CAFFE_VGG16
from frcnn.importing.convert import classification_weights
from frcnn.importing.recognize import recognize
from tests.foreign_weights import constants, layer, vgg_layers


def vgg() -> dict[str, torch.Tensor]:
    return vgg_layers("features.{index}", "classifier.0", "classifier.3")


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_resnets(tmp_path: Path, backbone: str) -> None:
    with torch.device("meta"):
        tensors = constants(torchvision.models.get_model(backbone).state_dict())
    torch.save(tensors, tmp_path / "w")
    found = recognize(tmp_path / "w", "", None)
    assert (found.backbone, found.preprocessing) == (backbone, PREPROCESSING["torchvision"])
    loaded = classification_weights(found, "w")
    unused = [name for name in tensors if name.startswith("fc.") or name.endswith("num_batches_tracked")]
    assert set(loaded) == set(tensors) - set(unused)
    for name, array in loaded.items():
        assert array.shape == tensors[name].shape
        assert array.flat[-1] == tensors[name].flatten()[0], name


@pytest.mark.parametrize("classifier", [True, False], ids=["with classifier.6", "without"])
@pytest.mark.parametrize(
    ("sha256", "preparation"),
    [(CAFFE_VGG16.sha256, None), ("397923af" + 56 * "0", None), ("", "caffe"), ("", "torchvision")],
    ids=["published by Caffe", "published by torchvision", "said to be Caffe's", "said to be torchvision's"],
)
def test_vgg(tmp_path: Path, sha256: str, preparation: str | None, classifier: bool) -> None:
    tensors = vgg() | (layer("classifier.6", 10, 4096) if classifier else {})
    torch.save(tensors, tmp_path / "w")
    found = recognize(tmp_path / "w", sha256, preparation)
    caffe = sha256 == CAFFE_VGG16.sha256 or preparation == "caffe"
    assert (found.backbone, found.preprocessing) == (
        ("vgg16", PREPROCESSING["caffe"]) if caffe else ("vgg16-torch", PREPROCESSING["torchvision"])
    )
    assert {name: tensor.shape for name, tensor in found.tensors.items()} == {n: t.shape for n, t in vgg().items()}


def test_vggs_tensors_stay_what_they_are(tmp_path: Path) -> None:
    tensors = vgg()
    tensors = {name: tensor.half() if tensor.dim() == 4 else tensor for name, tensor in tensors.items()}
    torch.save(tensors, tmp_path / "w")
    loaded = classification_weights(recognize(tmp_path / "w", "", "caffe"), "w")
    assert set(loaded) == set(tensors)
    for name, array in loaded.items():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array[-5:], tensors[name][-5:].float(), name)


def test_a_vgg_must_tell_or_be_told(tmp_path: Path) -> None:
    torch.save(vgg(), tmp_path / "w")
    with pytest.raises(UserError, match="say --preparation caffe .* or torchvision"):
        recognize(tmp_path / "w", 64 * "0", None)
    with pytest.raises(UserError, match="expects pictures prepared as for caffe, not torchvision"):
        recognize(tmp_path / "w", str(CAFFE_VGG16.sha256), "torchvision")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.12.weight"), r"missing features\.12\.weight$"),
        (lambda t: t.update({"features.1.running_var": torch.zeros(64)}), r"unexpected features\.1\.running_var$"),
        (
            lambda t: t.update({"classifier.0.bias": torch.zeros(1)}),
            r"classifier\.0\.bias is \(1,\), expected \(4096,\)$",
        ),
    ],
    ids=["missing", "extra", "misshapen"],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change, message: str) -> None:
    tensors = vgg()
    change(tensors)
    torch.save(tensors, tmp_path / "w")
    with pytest.raises(UserError, match=message):
        classification_weights(recognize(tmp_path / "w", "", "caffe"), "w")


class Evil:
    """Something that would run when unpickled."""

    def __reduce__(self):
        """Name a call."""
        return print, ("executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"garbage" * 100, "not a readable file of weights saved by torch"),
        (b"", "not a readable file of weights saved by torch"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "not a readable HDF5 file"),
        ({"model": {"a": torch.ones(1)}, "hook": Evil()}, r"objects that could run code \(print\) and is not read"),
        ({"model": {"a": torch.ones(1)}}, r"no layout that is known here \(a\); docs/weights.md"),
        ({}, r"no layout that is known here \(no tensors\)"),
        ([1, 2], "holds no state dict"),
        ({"model_state_dict": {"a": 1}}, "holds no state dict"),
    ],
    ids=["garbage", "empty", "broken HDF5", "code", "unknown", "no tensors", "list", "numbers"],
)
def test_files_that_are_none_of_these(
    tmp_path: Path, content, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        recognize(path, "", None)
    assert "\n" not in str(error.value)
    assert "executed" not in capsys.readouterr().out
