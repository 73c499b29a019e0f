"""Weights files of this project: one .safetensors that describes itself.

Arrays have the names and layouts of the PyTorch network's `state_dict()`, float32 (but for counters). The only metadata
key, `frcnn`, is a JSON object: schema, version, library (version), checksum, config (`DetectorConfig`), provenance
(digests and parameters that the weights were made from), and of weights that were validated validation (what was found:
loss, mAP, F1, the best, and score, from which on detections have that). Files of versions 2 (other names of parameters)
and 3 (no checksum) are read, too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Weights
from frcnn.detector.tensor_file import read_tensors, write_tensors
from frcnn.errors import UserError
from frcnn.messages import first_few
from frcnn.params import from_dict, to_dict

SCHEMA, VERSION = "frcnn-weights", 4
COUNTER = "num_batches_tracked"  # of batch norms, in some networks only and used by none
# Where the parameters of `model` in version 2 are now.
MOVED = {
    "proposal_min_size": ("proposals", "min_size"),
    "rpn_nms_threshold": ("proposals", "nms_threshold"),
    "exclude_edge_proposals": ("proposals", "exclude_edge"),
    "roi_op": ("roi_pool", "op"),
    "roi_size": ("roi_pool", "size"),
    "roi_sampling_ratio": ("roi_pool", "sampling_ratio"),
    "roi_clip": ("roi_pool", "clip"),
}


def write_weights(
    path: Path,
    config: DetectorConfig,
    weights: Weights,
    provenance: dict[str, Any],
    validation: dict[str, float] | None = None,
) -> None:
    """Write a detector to a weights file; the same content gives the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    header = {"schema": SCHEMA, "version": VERSION, "config": to_dict(config), "provenance": provenance}
    write_tensors(path, weights, header | ({"validation": validation} if validation else {}))


def read_weights(path: Path) -> tuple[DetectorConfig, Weights]:
    """Read a detector: its configuration, whose absent keys take their defaults, and its arrays.

    Raises:
        UserError: no such file, damaged, not a weights file, one of a later version, or with infinity or NaN.
    """
    try:
        header, weights = read_tensors(path, sealed_from=4)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights file; train first, or name another") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a folder; name a weights file in it, such as phase2.safetensors") from error
    if header.get("schema") != SCHEMA or header.get("version") not in range(2, VERSION + 1):
        raise UserError(f"{path}: not a weights file of this project, version 2 to {VERSION}; train again")
    return from_dict(DetectorConfig, _upgrade(header["config"]), str(path)), weights


def is_weights_file(path: Path) -> bool:
    """Tell whether a file is one of these, of any version."""
    return read_header(path).get("schema") == SCHEMA


def read_validation(path: Path) -> dict[str, float]:
    """Return what validation found of the weights in a file; empty if they were not validated."""
    return read_header(path).get("validation", {})


def check_fit(tensors: Mapping[str, Any], expected: Mapping[str, Any], source: str) -> None:
    """Require that tensors have exactly the names and shapes expected.

    Args:
        source: where the tensors are from, for the message.

    Raises:
        UserError: naming what is missing, unexpected or of another shape.
    """
    differences = [f"missing {name}" for name in expected if name not in tensors]
    differences += [f"unexpected {name}" for name in tensors if name not in expected]
    differences += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tuple(tensors[name].shape) != tuple(expected[name].shape)
    ]
    if differences:
        raise UserError(f"{source}: does not fit the model, nothing was loaded: {first_few(differences, 6, '; ')}")


def read_header(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file, an empty one if it cannot be read, of which `read_weights` says why."""
    try:
        with safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {}).get("frcnn", "{}"))
    except (OSError, SafetensorError, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _upgrade(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the parameters of version 2 where they are now."""
    model: dict[str, Any] = {}
    for key, value in config["model"].items():
        if key in MOVED:
            section, name = MOVED[key]
            model.setdefault(section, {})[name] = value
        else:
            model[key] = value
    return config | {"model": model}
