"""Files of ImageNet classification weights with torchvision's key names, from which backbone and head start.

They come as a state dict saved by torch, alone or in a checkpoint, or as the .safetensors file that `frcnn
import-weights` makes of other files: arrays of backbone and head, float32, and one metadata key `frcnn`, a JSON object:
schema, version, library (version), checksum, backbone, preprocessing (what pictures the weights expect), provenance
(SHA-256 and layout of the file imported).
"""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frcnn.detector.config import DetectorConfig, Preprocessing
from frcnn.detector.interfaces import Weights
from frcnn.detector.tensor_file import read_tensors, require_finite, write_tensors
from frcnn.detector.weights_file import COUNTER
from frcnn.errors import UserError
from frcnn.messages import cut, first_few
from frcnn.params import from_dict, to_dict

SCHEMA, VERSION = "frcnn-initial-weights", 2
# The classifier of 1,000 ImageNet classes, which a detector has no use for.
UNUSED = ("classifier.6.", "fc.")
# Where checkpoints keep the state dict, and what training in parallel puts before its names.
STATE_DICTS, PARALLEL = ("model_state_dict", "state_dict", "model"), "module."
# What unpickles a float of NumPy, which some checkpoints hold beside their tensors, and its name before NumPy 2.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_FLOAT: list[Any] = [_SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"), np.dtype, type(np.dtype(np.float64))]


def read_initial(path: Path, config: DetectorConfig) -> Weights:
    """Read classification weights for the backbone and head of a detector, under torchvision's names, float32.

    Raises:
        UserError: no such file, of no such format, or made for another backbone or other pictures.
    """
    if _is_safetensors(path):
        header, arrays = read_tensors(path, sealed_from=2)
        _check_header(path, header, config)
    else:
        tensors = state_dict_in(read_torch(path), path)
        arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
        require_finite(path, arrays)
    first, width = arrays.get("conv1.weight"), config.model.width  # a ResNet's
    if first is not None and first.ndim == 4 and len(first) != width:
        raise UserError(f"{path}: made for model.width: {len(first)}, not {width}; set model.width: {len(first)}")
    return {name: array for name, array in arrays.items() if not name.startswith(UNUSED) and not name.endswith(COUNTER)}


def state_dict_in(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors by name in what torch saved, alone or in a checkpoint; names lose a common `module.`.

    Raises:
        UserError: it holds no state dict.
    """
    state = content
    if isinstance(content, dict):
        state = next((content[key] for key in STATE_DICTS if key in content), content)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        keys = ", ".join(f"`{key}`" for key in STATE_DICTS)
        inside = first_few([str(key) for key in content]) if isinstance(content, dict) else type(content).__name__
        what = f"holds no state dict of tensors, alone or as one of {keys}, but {cut(inside)}"
        raise UserError(f"{path}: {what}; save its tensors alone with torch.save")
    names = list(map(str, state))
    prefix = PARALLEL if all(name.startswith(PARALLEL) for name in names) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in zip(names, state.values(), strict=True)}


def read_torch(path: Path) -> Any:
    """Read what torch saved: tensors and plain values. Nothing that the file holds is executed.

    Raises:
        UserError: no such file, not a file of torch, or one with other objects.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_FLOAT), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file of weights") from error
    except Exception as error:  # damage surfaces as nearly any
        if refused := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise UserError(
                f"{path}: holds objects that could run code ({refused[1]}) and is not read; save its tensors alone"
            ) from error
        raise UserError(f"{path}: not a readable file of weights saved by torch (.pth)") from error


def write_initial(
    path: Path, weights: Weights, backbone: str, preprocessing: Preprocessing, provenance: dict[str, Any]
) -> None:
    """Write initial weights; the same content gives the same bytes.

    Args:
        weights: of backbone and head under torchvision's names.
        provenance: digest and layout of the file that they come from.

    Raises:
        UserError: the file cannot be written.
    """
    header = {
        "schema": SCHEMA,
        "version": VERSION,
        "backbone": backbone,
        "preprocessing": to_dict(preprocessing),
        "provenance": provenance,
    }
    write_tensors(path, weights, header)


def _is_safetensors(path: Path) -> bool:
    """Tell by content: after the length (8 bytes) of a .safetensors file's header comes its JSON object."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False  # reading says what is wrong


def _check_header(path: Path, header: dict[str, Any], config: DetectorConfig) -> None:
    if header.get("schema") != SCHEMA or header.get("version") not in range(1, VERSION + 1):
        raise UserError(
            f"{path}: not initial weights of version 1 to {VERSION} ({header.get('schema', 'no schema')}); "
            "make them with `frcnn import-weights`"
        )
    if header.get("backbone") != config.model.backbone:
        raise UserError(f"{path}: made for model.backbone: {header.get('backbone')}, not {config.model.backbone}")
    if from_dict(Preprocessing, header.get("preprocessing"), str(path)) != config.preprocessing:
        raise UserError(f"{path}: expects other preprocessing of pictures than {config.model.backbone} has here")
