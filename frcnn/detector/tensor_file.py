"""A .safetensors file that describes itself: arrays by name, and one metadata key `frcnn` with a JSON object."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.numpy import save

import frcnn
from frcnn.detector.interfaces import Weights
from frcnn.files import atomic_path


def write_tensors(path: Path, tensors: Weights, header: dict[str, Any]) -> None:
    """Write arrays and the JSON object, to which `library` (version) is added; the same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(header | {"library": frcnn.__version__}, sort_keys=True, ensure_ascii=False)
    content = save(tensors, {"frcnn": text})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_header(path: Path) -> dict[str, Any]:
    """Return the JSON object, empty where there is none, without reading the arrays.

    Raises:
        OSError, SafetensorError, json.JSONDecodeError: no such file, or not such a file.
    """
    with safe_open(path, "np") as file:
        return json.loads((file.metadata() or {}).get("frcnn", "{}"))


def read_tensors(path: Path) -> Weights:
    """Return the arrays by name."""
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
