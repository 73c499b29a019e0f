"""Recognize weight files of other projects by their content, never by their name."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from frcnn.backbones import BACKBONES
from frcnn.detector.weights_file import COUNTER
from frcnn.errors import UserError
from frcnn.fetching.published import CAFFE_VGG16
from frcnn.importing.chenyuntc import is_chenyuntc, preparation_of, recognize_chenyuntc
from frcnn.importing.detectron2 import is_detectron2, recognize_detectron2, require_detector
from frcnn.importing.keras_vgg import recognize_keras_vgg
from frcnn.importing.pickled import is_pickle, read_pickle
from frcnn.importing.reference import is_reference, recognize_reference
from frcnn.importing.tensor_source import Recognized, Tensors
from frcnn.importing.torchvision_detectors import is_torchvision_detector, recognize_torchvision_detector
from frcnn.importing.torchvision_names import is_resnet, is_vgg, recognize_resnet, recognize_vgg
from frcnn.pretrained import imagenet_weights
from frcnn.training.initial_weights import read_torch, state_dict_in


def recognize(path: Path, sha256: str, preparation: str | None) -> Recognized:
    """Return what a weight file of another project holds.

    Args:
        sha256: of the file, by which published ones are known.
        preparation: caffe or torchvision: how pictures are prepared for a VGG-16 whose file does not tell.

    Raises:
        UserError: not readable; of no layout known here; or it does not tell the preparation, or tells another.
    """
    if h5py.is_hdf5(path):
        return _agreeing(recognize_keras_vgg(path), preparation, path)
    content = _read_arrays(path) if is_pickle(path) else read_torch(path)
    state, config = _open(content, path)
    if is_torchvision_detector(state):
        return _agreeing(recognize_torchvision_detector(state, sha256, str(path)), preparation, path)
    tensors = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    if is_reference(tensors):
        return _agreeing(recognize_reference(tensors, str(path)), preparation, path)
    if is_resnet(tensors):
        return _agreeing(recognize_resnet(tensors, str(path)), preparation, path)
    if is_detectron2(tensors):
        return _agreeing(recognize_detectron2(tensors, str(path)), preparation, path)
    if is_chenyuntc(tensors):
        return recognize_chenyuntc(tensors, _settle(preparation_of(config), preparation, path))
    if is_vgg(tensors):
        return recognize_vgg(tensors, _settle(_published(sha256), preparation, path))
    names = ", ".join(list(tensors)[:3]) or "no tensors"
    raise UserError(f"{path}: of no layout that is known here ({names}); docs/weights.md lists what can be read")


def _read_arrays(path: Path) -> Any:
    """Return what a pickle holds, with tensors for the arrays of its model."""
    content = read_pickle(path)
    require_detector(content, str(path))
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        arrays = content["model"]
        if all(isinstance(array, np.ndarray) and array.dtype.kind == "f" for array in arrays.values()):
            return content | {
                "model": {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}
            }
    return content


def _open(content: Any, path: Path) -> tuple[Tensors, Any]:
    """Return the state dict of a checkpoint and its entry `config`."""
    config = content.get("config") if isinstance(content, dict) else None
    return state_dict_in(content, path), config


def _published(sha256: str) -> str | None:
    """Return the preparation of a published VGG-16, None for any other file."""
    if sha256 == CAFFE_VGG16.sha256:
        return "caffe"
    return "torchvision" if sha256.startswith(str(imagenet_weights("vgg16-torch").sha256)) else None


def _agreeing(found: Recognized, preparation: str | None, path: Path) -> Recognized:
    _settle(BACKBONES[found.backbone].preprocessing, preparation, path)
    return found


def _settle(told: str | None, given: str | None, path: Path) -> str:
    """Return the preparation of pictures that the file tells or, where it tells none, the user."""
    if told and given and told != given:
        raise UserError(f"{path}: expects pictures prepared as for {told}, not {given}; leave out --preparation")
    preparation = told or given
    if preparation is None:
        raise UserError(
            f"{path}: a VGG-16 whose file does not tell how pictures are prepared for it; "
            "say --preparation caffe (BGR, 0 to 255) or torchvision (RGB, 0 to 1)"
        )
    return preparation
