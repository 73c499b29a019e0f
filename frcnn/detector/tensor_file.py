"""A .safetensors file that describes itself: arrays by name, and one metadata key `frcnn` with a JSON object.

The object holds a checksum of the file, see `frcnn.checksums`; files of earlier versions have none.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

import frcnn
from frcnn.checksums import BLANK, fill_in, fits
from frcnn.detector.interfaces import Weights
from frcnn.errors import UserError
from frcnn.files import atomic_path


def write_tensors(path: Path, tensors: Weights, header: dict[str, Any]) -> None:
    """Write arrays and the JSON object, to which `library` (version) and `checksum` are added.

    The same content gives the same bytes.

    Raises:
        UserError: the file cannot be written, or an array holds infinity or NaN.
    """
    require_finite(path, tensors)
    header = header | {"library": frcnn.__version__, "checksum": BLANK.decode()}  # which comes first
    content = fill_in(save(tensors, {"frcnn": json.dumps(header, sort_keys=True, ensure_ascii=False)}))
    with atomic_path(path, durable=True) as temporary:
        temporary.write_bytes(content)


def read_tensors(path: Path, sealed_from: int) -> tuple[dict[str, Any], Weights]:
    """Return the JSON object and the arrays by name.

    Args:
        sealed_from: the first version in the JSON object that has a checksum.

    Raises:
        FileNotFoundError: no such file.
        UserError: not such a file, damaged, or with infinity or NaN in an array.
    """
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        header = json.loads(metadata.get("frcnn", "{}"))
        state = fits(content)
        if state is False or (state is None and header.get("version", 0) >= sealed_from):
            raise UserError(f"{path}: damaged, its checksum does not fit its content; make or fetch it again")
        tensors = load(content)
    except (SafetensorError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a readable weights file ({error}); make or fetch it again") from error
    require_finite(path, tensors)
    return header, tensors


def require_finite(path: Path, tensors: Weights) -> None:
    """Require that no array holds infinity or NaN.

    Raises:
        UserError: naming the first that does.
    """
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise UserError(f"{path}: {name} holds infinity or NaN; nothing can be computed with it")
