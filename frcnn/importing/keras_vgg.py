"""VGG-16 as Keras saves it in HDF5: a whole model (`model_weights/LAYER/...`) or its weights (`LAYER/...`).

A layer's group holds a kernel and a bias, directly or in further groups, under the names `kernel:0`, `bias:0` or, in
files of the first Keras, `LAYER_W_1:0`, `LAYER_b_1:0`.
"""

from functools import partial
from pathlib import Path

import h5py
import torch
from torch import Tensor

from frcnn.detector.config import PREPROCESSING
from frcnn.detector.layouts import VGG_LAYERS, from_keras
from frcnn.errors import UserError
from frcnn.importing.tensor_source import Recognized, Tensors, TensorSource

CLASSIFIER = "predictions"  # of 1,000 ImageNet classes


def recognize_keras_vgg(path: Path) -> Recognized:
    """Return what a Keras file holds; Keras's VGG-16 is Caffe's and has pictures prepared as Caffe does.

    Raises:
        UserError: not readable, or no VGG-16.
    """
    try:
        with h5py.File(path) as file:
            whole_model = "model_weights" in file
            tensors = _read(file["model_weights"] if whole_model else file)
    except (OSError, RuntimeError, TypeError) as error:
        raise UserError(f"{path}: not a readable HDF5 file ({error})") from error
    if not any(name.startswith("block1_conv1/") for name in tensors):
        raise UserError(f"{path}: an HDF5 file without Keras's VGG-16 (no layer block1_conv1)")
    layout = f"VGG-16 (caffe), Keras's {'model' if whole_model else 'weights'} file"
    return Recognized(layout, "vgg16", PREPROCESSING["caffe"], tensors, _sources)


def _read(root: h5py.Group) -> Tensors:
    """Return kernels and biases as `LAYER/kernel`, `LAYER/bias`; whatever else there is keeps its path."""
    tensors: Tensors = {}

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        layer = path.split("/")[0]
        if isinstance(item, h5py.Dataset) and layer != CLASSIFIER:
            name = f"{layer}/{_role(path)}"
            tensors[path if name in tensors else name] = torch.from_numpy(item[()])

    root.visititems(visit)
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
