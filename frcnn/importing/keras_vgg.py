"""VGG-16 as Keras saves it in HDF5: a whole model (`model_weights/LAYER/...`) or its weights (`LAYER/...`).

A layer's group holds a kernel and a bias, directly or in further groups, under the names `kernel:0`, `bias:0` or, in
files of the first Keras, `LAYER_W_1:0`, `LAYER_b_1:0`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from frcnn.detector.config import CAFFE
from frcnn.detector.layouts import VGG_LAYERS, conv_from_keras, dense_from_keras, flattened_from_keras
from frcnn.errors import UserError
from frcnn.importing.part import Part, Recognized, Tensors

CLASSIFIER = "predictions"  # of 1,000 ImageNet classes
ROI_SIZE = 7


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
    return Recognized(layout, "vgg16", CAFFE, tensors, _parts)


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


def _parts(expected: Tensors) -> dict[str, Part]:
    return {name: _part(name, tensor) for name, tensor in expected.items()}


def _part(name: str, tensor: Tensor) -> Part:
    layer, kind = name.rsplit(".", 1)
    if kind == "bias":
        return Part(f"{VGG_LAYERS[layer]}/bias", tensor.shape)
    there = f"{VGG_LAYERS[layer]}/kernel"
    if tensor.dim() == 4:
        outputs, inputs, rows, columns = tensor.shape
        return Part(there, (rows, columns, inputs, outputs), partial(_on_array, conv_from_keras))
    function = partial(flattened_from_keras, size=ROI_SIZE) if layer == "classifier.0" else dense_from_keras
    return Part(there, tuple(tensor.shape[::-1]), partial(_on_array, function))


def _on_array(function: Callable[[np.ndarray], np.ndarray], tensor: Tensor) -> Tensor:
    return torch.from_numpy(function(tensor.numpy()))
