"""Every number of a state has its place in the Keras network, and goes back to where it came from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.detector.config import DetectorConfig, detector_config
from frcnn.detector.layouts import FC6, from_keras, to_keras
from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.keras.faster_rcnn import FasterRCNN as KerasFasterRCNN
from frcnn.keras.weights import arrays_of, load_arrays, load_model
from frcnn.params import Params
from frcnn.pytorch import weights as torch_side
from frcnn.pytorch.faster_rcnn import FasterRCNN
from tests.factories import change

pytestmark = pytest.mark.tensorflow


def config_of(params: Params, backbone: str, norm: str = "frozen") -> DetectorConfig:
    return detector_config(["a", "b", "c"], change(params, {"model.backbone": backbone, "model.norm": norm}))


def distinct(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_convolutions_and_dense_layers() -> None:
    torch_conv, torch_dense = distinct((2, 3, 5, 4)), distinct((2, 3))
    conv, dense = to_keras("a.weight", torch_conv), to_keras("a.weight", torch_dense)
    assert conv.shape == (5, 4, 3, 2)
    assert conv[4, 1, 2, 0] == torch_conv[0, 2, 4, 1]
    assert dense[2, 1] == torch_dense[1, 2]
    bias = distinct((7,))
    assert np.array_equal(to_keras("a.bias", bias), bias)


def test_fc6_meets_the_same_cells_though_keras_flattens_channels_last() -> None:
    features = distinct((3, 7, 7)) % 11  # channel, row, column
    weight = distinct((2, 3 * 49)) % 13
    kernel = to_keras(f"head.{FC6}", weight)
    np.testing.assert_array_equal(features.transpose(1, 2, 0).reshape(-1) @ kernel, weight @ features.reshape(-1))
    assert not np.array_equal(kernel, to_keras("other.weight", weight))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("a", (2, 3, 5, 4)), ("a", (6, 5)), (f"head.{FC6}", (2, 3 * 49)), ("a", (3,)), ("a", ())],
)
def test_back_again(name: str, shape: tuple[int, ...]) -> None:
    tensor = distinct(shape)
    again = from_keras(name, to_keras(name, tensor))
    assert again.flags.c_contiguous
    assert again.shape == shape
    np.testing.assert_array_equal(again, tensor)


@pytest.mark.parametrize(("backbone", "norm"), [("resnet50", "frozen"), ("resnet18", "trained"), ("vgg16", "frozen")])
def test_a_state_goes_in_and_comes_out(params: Params, backbone: str, norm: str) -> None:
    config = config_of(params, backbone, norm)
    with torch.device("meta"):
        expected = FasterRCNN(config).state_dict()
    rng = np.random.default_rng(0)
    given = {
        name: np.array(7) if tensor.ndim == 0 else rng.random(tuple(tensor.shape), np.float32)
        for name, tensor in expected.items()
    }
    model = KerasFasterRCNN(config)
    load_arrays(model, given, "test")
    found = arrays_of(model)
    assert len(found) == len(model.variables)  # none hides another
    assert found.keys() == given.keys()
    for name, tensor in found.items():
        assert tensor.dtype == given[name].dtype
        np.testing.assert_array_equal(tensor, given[name])


def test_what_does_not_fit_is_named(params: Params) -> None:
    model = KerasFasterRCNN(config_of(params, "resnet18"))
    tensors = arrays_of(model)
    del tensors["rpn.conv.bias"]
    with pytest.raises(UserError, match="some.safetensors: .*missing rpn.conv.bias"):
        load_arrays(model, tensors, "some.safetensors")
    tensors["rpn.conv.bias"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=r"rpn.conv.bias is \(3,\)"):
        load_arrays(model, tensors, "some.safetensors")


def test_a_weights_file_makes_the_model(params: Params, tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = FasterRCNN(config_of(params, "resnet18", "trained"))
    write_weights(tmp_path / "w.safetensors", saved.config, torch_side.arrays_of(saved), {})
    model = load_model(tmp_path / "w.safetensors")
    assert model.config == saved.config
    for name, tensor in arrays_of(model).items():
        np.testing.assert_array_equal(tensor, saved.state_dict()[name])


@pytest.mark.parametrize(
    ("backbone", "norm", "freeze_at"),
    [("resnet18", "frozen", 2), ("resnet18", "trained", 2), ("resnet50", "trained", 4), ("vgg16", "frozen", 5)],
)
def test_the_same_is_trained(params: Params, backbone: str, norm: str, freeze_at: int) -> None:
    config = config_of(params, backbone, norm)
    config = change(config, {"model.freeze_at": freeze_at})
    with torch.device("meta"):
        wanted = {name for name, tensor in FasterRCNN(config).named_parameters() if tensor.requires_grad}
    model = KerasFasterRCNN(config)
    assert {variable.path.replace("/", ".") for variable in model.trainable_variables} == wanted
    assert all(variable.value.trainable == (variable.path.replace("/", ".") in wanted) for variable in model.variables)
