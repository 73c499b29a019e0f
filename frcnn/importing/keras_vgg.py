"""VGG-16 as Keras saves it in HDF5: a whole model (`model_weights/LAYER/...`) or its weights (`LAYER/...`).

A layer's group holds a kernel and a bias, directly or in further groups, under the names `kernel:0`, `bias:0` or, in
files of the first Keras, `LAYER_W_1:0`, `LAYER_b_1:0`.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frcnn.array_file import read_hdf5
from frcnn.detector.config import PREPROCESSING
from frcnn.detector.layouts import VGG_LAYERS, from_keras
from frcnn.errors import UserError
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource

MOST_BYTES = 2 << 30  # of all layers; VGG-16 has 0.5 GiB
MODEL = "model_weights/"
CLASSIFIER = "predictions"  # of 1,000 ImageNet classes


def recognize_keras_vgg(path: Path) -> Recognized:
    """Return what a Keras file holds; Keras's VGG-16 is Caffe's and has pictures prepared as Caffe does.

    Raises:
        UserError: not readable, or no VGG-16.
    """
    try:
        _, arrays = read_hdf5(path, MOST_BYTES)
    except ValueError as error:
        raise UserError(f"{path}: not a readable HDF5 file ({error})") from error
    whole_model = any(name.startswith(MODEL) for name in arrays)
    tensors = _by_layer(arrays)
    if not any(name.startswith("block1_conv1/") for name in tensors):
        raise UserError(f"{path}: an HDF5 file without Keras's VGG-16 (no layer block1_conv1)")
    layout = f"VGG-16 (caffe), Keras's {'model' if whole_model else 'weights'} file"
    return Recognized(layout, "vgg16", PREPROCESSING["caffe"], tensors, _sources)


def _by_layer(arrays: dict[str, np.ndarray]) -> Tensors:
    """Return kernels and biases as `LAYER/kernel`, `LAYER/bias`; whatever other numbers there are keep their path."""
    tensors: Tensors = {}
    for whole_path, array in arrays.items():
        path = whole_path.removeprefix(MODEL)
        layer = path.split("/")[0]
        if array.dtype.kind == "f" and layer != CLASSIFIER:
            name = f"{layer}/{_role(path)}"
            tensors[path if name in tensors else name] = torch.from_numpy(np.asarray(array, np.float32))
    return tensors


def _role(path: str) -> str:
    """Return kernel or bias, or a name that is neither."""
    name = path.split("/")[-1].split(":")[0]
    return {"W_1": "kernel", "b_1": "bias"}.get(name[-3:], name)


def _sources(expected: Tensors) -> dict[str, TensorSource]:
    return {name: _source(name, tensor) for name, tensor in expected.items()}


def _source(name: str, tensor: Tensor) -> TensorSource:
    layer, kind = name.rsplit(".", 1)
    if kind == "bias":
        return TensorSource(f"{VGG_LAYERS[layer]}/bias", tensor.shape)
    if tensor.dim() == 4:
        outputs, inputs, rows, columns = tensor.shape
        shape: tuple[int, ...] = (rows, columns, inputs, outputs)
    else:
        shape = tuple(tensor.shape[::-1])
    return TensorSource(f"{VGG_LAYERS[layer]}/kernel", shape, partial(_from_keras, name))


def _from_keras(name: str, tensor: Tensor) -> Tensor:
    return torch.from_numpy(from_keras(name, tensor.numpy()))
