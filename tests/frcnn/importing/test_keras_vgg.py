"""Keras's VGG-16 in each of its file layouts, here with a sixteenth of the channels, computes the same as in Keras."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn import functional as F

from frcnn.detector.config import PREPROCESSING
from frcnn.errors import UserError
from frcnn.importing.convert import convert
from frcnn.importing.recognize import recognize
from tests.foreign_weights import VGG_CONVOLUTIONS, linear, vgg_features

NAMES = {
    "whole model": lambda layer, kind: f"model_weights/{layer}/{layer[:2]}v2d_3/{kind}:0",
    "whole model, newer": lambda layer, kind: f"model_weights/{layer}/{layer}/{kind}:0",
    "keras.applications": lambda layer, kind: f"{layer}/{layer}_{'W' if kind == 'kernel' else 'b'}_1:0",
    "weights, newer": lambda layer, kind: f"{layer}/{layer}/{kind}:0",
    "weights, newest": lambda layer, kind: f"{layer}/{layer}/{kind}",
}
Arrays = dict[tuple[str, str], np.ndarray]


def thin(channels: int) -> int:
    return channels if channels == 3 else channels // 16


def draw() -> Arrays:
    random = np.random.default_rng(0)
    shapes = {f"block{b}_conv{n}": (3, 3, thin(ins), thin(outs)) for _, b, n, ins, outs in VGG_CONVOLUTIONS}
    shapes |= {"fc1": (7 * 7 * 32, 24), "fc2": (24, 20), "predictions": (20, 10)}
    arrays: Arrays = {}
    for layer, shape in shapes.items():
        scale = (2 / np.prod(shape[:-1])) ** 0.5
        arrays[layer, "kernel"] = random.normal(scale=scale, size=shape).astype(np.float32)
        arrays[layer, "bias"] = random.normal(scale=0.1, size=shape[-1:]).astype(np.float32)
    return arrays


def write(path: Path, arrays: Arrays, layout: str) -> None:
    with h5py.File(path, "w") as file:
        for (layer, kind), array in arrays.items():
            file[NAMES[layout](layer, kind)] = array
        root = file["model_weights"] if layout.startswith("whole") else file
        root.create_group("block1_pool")
        if layout.startswith("whole"):
            file["optimizer_weights/iteration:0"] = 7


def expected_shapes() -> dict[str, torch.Tensor]:
    """Return the names and shapes of our thin VGG-16."""
    shapes = {}
    for index, _, _, ins, outs in VGG_CONVOLUTIONS:
        shapes[f"features.{index}.weight"], shapes[f"features.{index}.bias"] = (
            (thin(outs), thin(ins), 3, 3),
            (thin(outs),),
        )
    shapes |= {"classifier.0.weight": (24, 32 * 7 * 7), "classifier.0.bias": (24,)}
    shapes |= {"classifier.3.weight": (20, 24), "classifier.3.bias": (20,)}
    return {name: torch.empty(shape) for name, shape in shapes.items()}


def keras_features(image: np.ndarray, arrays: Arrays) -> np.ndarray:
    """Return block5_conv3 of an image (H, W, 3), in Keras's order of rows, columns, channels."""
    x = image
    for position, (_, block, number, *_) in enumerate(VGG_CONVOLUTIONS):
        if number == 1 and position:
            x = sliding_window_view(x, (2, 2), axis=(0, 1))[::2, ::2].max(axis=(3, 4))
        layer = f"block{block}_conv{number}"
        windows = sliding_window_view(np.pad(x, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
        x = np.einsum("yxcij,ijco->yxo", windows, arrays[layer, "kernel"], optimize=True) + arrays[layer, "bias"]
        x = np.maximum(x, 0)
    return x


@pytest.mark.parametrize("layout", NAMES)
def test_every_layout_computes_what_keras_does(tmp_path: Path, layout: str) -> None:
    arrays, path = draw(), tmp_path / "w"
    write(path, arrays, layout)
    found = recognize(path, "", None)
    assert (found.backbone, found.preprocessing, found.class_bias) == ("vgg16", PREPROCESSING["caffe"], None)
    arrays_of_ours = convert(found, expected_shapes(), str(path))
    tensors = {name: torch.from_numpy(array) for name, array in arrays_of_ours.items()}

    image = np.random.default_rng(1).normal(size=(32, 48, 3)).astype(np.float32)
    features = vgg_features(torch.from_numpy(image).permute(2, 0, 1)[None], "features.{index}", tensors)
    expected = keras_features(image, arrays)
    assert expected.shape == (2, 3, 32)
    np.testing.assert_allclose(features[0].permute(1, 2, 0), expected, rtol=1e-3, atol=1e-5)

    pooled = np.random.default_rng(2).random((4, 7, 7, 32), np.float32)
    vector = np.maximum(pooled.reshape(4, -1) @ arrays["fc1", "kernel"] + arrays["fc1", "bias"], 0)
    vector = np.maximum(vector @ arrays["fc2", "kernel"] + arrays["fc2", "bias"], 0)
    ours = torch.from_numpy(pooled).permute(0, 3, 1, 2).flatten(1)
    ours = F.relu(linear(F.relu(linear(ours, "classifier.0", tensors)), "classifier.3", tensors))
    np.testing.assert_allclose(ours, vector, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(("fc1", "kernel")), "missing fc1/kernel$"),
        (lambda a: a.update({("block6_conv1", "bias"): np.zeros(2)}), "unexpected block6_conv1/bias$"),
        (
            lambda a: a.update({("block2_conv1", "kernel"): np.zeros((8, 4, 3, 3))}),
            r"block2_conv1/kernel is \(8, 4, 3, 3\), expected \(3, 3, 4, 8\)$",
        ),
        (lambda a: [a.pop(key) for key in list(a) if key[0].startswith("block1")], "without Keras's VGG-16"),
    ],
    ids=["missing", "extra", "misshapen", "another network"],
)
@pytest.mark.parametrize("layout", ["whole model", "keras.applications"])
def test_what_does_not_fit_is_refused(tmp_path: Path, layout: str, change, message: str) -> None:
    arrays, path = draw(), tmp_path / "w"
    change(arrays)
    write(path, arrays, layout)
    with pytest.raises(UserError, match=message):
        convert(recognize(path, "", None), expected_shapes(), str(path))


def test_data_in_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w"
    (tmp_path / "secret").write_bytes(bytes(128 * 4))
    arrays = draw()
    bias = arrays.pop(("fc1", "bias"))
    write(path, arrays, "whole model")
    with h5py.File(path, "a") as file:
        place = [(str(tmp_path / "secret"), 0, bias.size * 4)]
        file.create_dataset("model_weights/fc1/fc1/bias:0", bias.shape, np.float32, external=place)
    with pytest.raises(UserError, match="w: not a readable HDF5 file .the data of .*fc1/bias:0 are not in the file"):
        recognize(path, "", None)


def test_a_second_kernel_in_a_layer_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "w"
    write(path, draw(), "weights, newer")
    with h5py.File(path, "a") as file:
        file["fc2/other/kernel:0"] = np.zeros(2)
    with pytest.raises(UserError, match="unexpected fc2/other/kernel:0"):
        convert(recognize(path, "", None), expected_shapes(), str(path))


def test_keras_files_expect_caffes_pictures(tmp_path: Path) -> None:
    write(tmp_path / "w", draw(), "whole model")
    with pytest.raises(UserError, match="expects pictures prepared as for caffe, not torchvision"):
        recognize(tmp_path / "w", "", "torchvision")
