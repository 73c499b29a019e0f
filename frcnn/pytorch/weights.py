"""Weights files of this project: one .safetensors that describes itself.

Tensors are named as in `FasterRCNN.state_dict()`, float32 (but for counters). The only metadata key, `frcnn`, is a JSON
object: schema, version, library (version), config (`DetectorConfig`), trained_on (digests of what it was made from).
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from frcnn.detector.config import DetectorConfig
from frcnn.detector.tensor_file import read_object, read_tensors, write_tensors
from frcnn.errors import UserError
from frcnn.params import from_dict, to_dict
from frcnn.pytorch.faster_rcnn import FasterRCNN

SCHEMA, VERSION = "frcnn-weights", 2


def save_weights(path: Path, config: DetectorConfig, weights: dict[str, Tensor], trained_on: dict[str, Any]) -> None:
    """Write a model's configuration and `state_dict()` to a weights file; the same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    about = {
        "schema": SCHEMA,
        "version": VERSION,
        "config": to_dict(config),
        "trained_on": trained_on,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_tensors(path, tensors, about)


def read_about(path: Path) -> dict[str, Any]:
    """Return the JSON object of a weights file without reading its tensors.

    Raises:
        UserError: no such file, or not a weights file of this version.
    """
    try:
        about = read_object(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights file; train first, or name another") from error
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable weights file ({error})") from error
    if about.get("schema") != SCHEMA or about.get("version") != VERSION:
        raise UserError(f"{path}: not a weights file of this project, version {VERSION}; train again")
    return about


def load_model(path: Path) -> FasterRCNN:
    """Build the detector that a weights file describes and load its tensors, on the CPU.

    Raises:
        UserError: see `read_about`; or the tensors are not those of the network described.
    """
    config = read_config(path)
    with torch.device("meta"):  # no time is spent on random weights
        model = FasterRCNN(config)
    tensors = read_tensors(path)
    check_fit(tensors, model.state_dict(), str(path))
    model.load_state_dict(tensors, assign=True)
    return model


def read_config(path: Path) -> DetectorConfig:
    """Return the configuration that a weights file describes."""
    return from_dict(DetectorConfig, read_about(path)["config"], str(path))


def check_fit(tensors: dict[str, Tensor], expected: dict[str, Tensor], source: str) -> None:
    """Require that tensors have exactly the names and shapes expected.

    Raises:
        UserError: naming what is missing, unexpected or of another shape.
    """
    differences = [f"missing {name}" for name in expected if name not in tensors]
    differences += [f"unexpected {name}" for name in tensors if name not in expected]
    differences += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    if differences:
        raise UserError(f"{source}: does not fit the model, nothing was loaded: {_some(differences)}")


def _some(differences: list[str], limit: int = 6) -> str:
    rest = len(differences) - limit
    return "; ".join(differences[:limit]) + (f"; and {rest} more" if rest > 0 else "")
