"""A .safetensors file that describes itself: tensors by name, and one metadata key `frcnn` with a JSON object."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

import frcnn
from frcnn.files import atomic_path


def write_tensors(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors, on the CPU and contiguous, and the object, to which `library` (version) is added.

    The same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    text = json.dumps(about | {"library": frcnn.__version__}, sort_keys=True, ensure_ascii=False)
    content = save(tensors, {"frcnn": text})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object, empty where there is none, without reading the tensors.

    Raises:
        OSError, SafetensorError, json.JSONDecodeError: no such file, or not such a file.
    """
    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {}).get("frcnn", "{}"))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors by name, on the CPU."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
