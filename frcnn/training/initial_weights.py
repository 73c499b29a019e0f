"""Start backbone and head from ImageNet classification weights with torchvision's key names.

They come as a state dict saved by torch, or as the .safetensors file that `frcnn import-weights` makes of other files:
tensors of backbone and head, float32, and one metadata key `frcnn`, a JSON object: schema, version, library (version),
backbone, preprocessing (what pictures the weights expect), made_from (SHA-256 and layout of the file imported).
"""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from frcnn.detector.config import Preprocessing
from frcnn.detector.tensor_file import read_object, read_tensors, write_tensors
from frcnn.errors import UserError
from frcnn.params import from_dict, to_dict
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import check_fit

SCHEMA, VERSION = "frcnn-initial-weights", 1
# The classifier of 1,000 ImageNet classes, which a detector has no use for.
UNUSED = ("classifier.6.", "fc.")
COUNTER = "num_batches_tracked"  # of batch norms, in some files only and used by none
# What unpickles a float of NumPy, which some checkpoints hold beside their tensors, and its name before NumPy 2.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_FLOAT: list[Any] = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.float64))]


def load_pretrained(model: FasterRCNN, path: Path) -> None:
    """Load a file of classification weights into backbone and head.

    Raises:
        UserError: no such file, of no such format, made for another backbone or other pictures, or its tensors are not
            exactly those of the backbone and head; then nothing is loaded.
    """
    tensors = {name: tensor for name, tensor in _read(model, path).items() if not name.startswith(UNUSED)}
    parts = nn.ModuleList([model.backbone, model.head])
    own_names = {name.split(".", 1)[1]: name for name in parts.state_dict() if not name.endswith(COUNTER)}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}
    own = parts.state_dict()
    check_fit(tensors, {name: own[own_name] for name, own_name in own_names.items()}, str(path))
    parts.load_state_dict(own | {own_name: tensors[name] for name, own_name in own_names.items()})


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict saved by torch.

    Raises:
        UserError: see `read_torch`; or not a mapping of names to tensors.
    """
    tensors = read_torch(path)
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise UserError(f"{path}: holds no plain state dict of tensors; make one with `frcnn import-weights`")
    return tensors


def read_torch(path: Path) -> Any:
    """Read what torch saved: tensors and plain values. Nothing that the file holds is executed.

    Raises:
        UserError: no such file, not a file of torch, or one with other objects.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_FLOAT):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file of weights") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{path}: holds objects that could run code ({refused[1]}) and is not read; save its tensors alone"
            ) from error
        raise UserError(f"{path}: not a readable file of weights saved by torch (.pth)") from error


def save_initial(
    path: Path, tensors: dict[str, Tensor], backbone: str, preprocessing: Preprocessing, made_from: dict[str, Any]
) -> None:
    """Write initial weights; the same content gives the same bytes.

    Args:
        tensors: backbone and head under torchvision's names, on the CPU and contiguous.
        made_from: digest and layout of the file that they come from.

    Raises:
        UserError: the file cannot be written.
    """
    about = {
        "schema": SCHEMA,
        "version": VERSION,
        "backbone": backbone,
        "preprocessing": to_dict(preprocessing),
        "made_from": made_from,
    }
    write_tensors(path, tensors, about)


def _read(model: FasterRCNN, path: Path) -> dict[str, Tensor]:
    if not _is_safetensors(path):
        return read_state_dict(path)
    about, config = _read_about(path), model.config
    if about["backbone"] != config.model.backbone:
        raise UserError(f"{path}: made for model.backbone: {about['backbone']}, not {config.model.backbone}")
    if from_dict(Preprocessing, about["preprocessing"], str(path)) != config.preprocessing:
        raise UserError(f"{path}: expects pictures prepared in another way than for {config.model.backbone} here")
    return read_tensors(path)


def _is_safetensors(path: Path) -> bool:
    """Tell by content: after the length (8 bytes) of a .safetensors file's header stands its JSON object."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False  # reading says what is wrong


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = read_object(path)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable file of initial weights ({error})") from error
    if about.get("schema") != SCHEMA or about.get("version") != VERSION:
        raise UserError(
            f"{path}: not initial weights of version {VERSION} ({about.get('schema', 'no schema')}); "
            "make them with `frcnn import-weights`"
        )
    return about
