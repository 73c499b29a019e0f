"""Start a detector from the weights of another: what is taken, and what keeps its random values."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Weights
from frcnn.detector.weights_file import COUNTER, check_fit
from frcnn.errors import UserError
from frcnn.messages import first_few

CLASSES, DELTAS = "predictor.classes.", "predictor.deltas."
RPN_OUTPUTS = ("rpn.objectness.", "rpn.deltas.")
# Parameters of `model` on which the meaning of the weights depends.
SETTINGS = (
    "data.min_size",
    "anchors.anchor_sizes",
    "anchors.anchor_ratios",
    "anchors.anchor_offset",
    "model.roi_pool.op",
    "model.roi_pool.aligned",
)  # to which the weights adapt
OF_THE_NETWORK = ("backbone", "width", "stride_in_1x1", "head_pool", "roi_pool.size")


def transfer(
    own: Weights, config: DetectorConfig, start: Weights, start_config: DetectorConfig, source: str
) -> tuple[Weights, str]:
    """Return the weights of a network with all that a trained detector gives it, and what that is, in a sentence.

    Backbone, head and the RPN's convolution are taken as they are. Of the output layers the rows of background and of
    the classes with equal names are taken; the RPN's outputs, if both have as many anchors per cell.

    Args:
        own: of the network with random weights, by its names.
        config: of the network.
        start: of the other detector.
        start_config: of the other detector.
        source: where its weights are from, for messages.

    Raises:
        UserError: they are of a network that cannot be made equal by its classes and anchors.
    """
    _require_same_network(config, start_config, source)
    same_anchors = config.anchors.per_cell == start_config.anchors.per_cell
    outputs = (CLASSES, DELTAS) if same_anchors else (CLASSES, DELTAS, *RPN_OUTPUTS)
    whole = {name: array for name, array in own.items() if not name.startswith(outputs) and COUNTER not in name}
    taken = {name: array for name, array in start.items() if not name.startswith(outputs) and COUNTER not in name}
    check_fit(taken, whole, source)
    theirs = {name: index for index, name in enumerate(start_config.class_names)}
    rows = [(here, theirs[name]) for here, name in enumerate(config.class_names) if name in theirs]
    heads = {
        name: _rows(array, start[name], rows, background=name.startswith(CLASSES))
        for name, array in own.items()
        if name.startswith((CLASSES, DELTAS))
    }
    return own | taken | heads, _sentence(config, start_config, [here for here, _ in rows], source)


def _require_same_network(config: DetectorConfig, start: DetectorConfig, source: str) -> None:
    if differing := _differing(config, start, [f"model.{name}" for name in OF_THE_NETWORK]):
        raise UserError(f"{source}: is of another network; to start from it, set {', '.join(differing)}")


def _differing(config: DetectorConfig, start: DetectorConfig, names: Sequence[str]) -> list[str]:
    """Return the parameters in which two detectors differ, with the values of the start."""
    found = []
    for name in names:
        here: Any = config
        there: Any = start
        for part in name.split("."):
            here, there = getattr(here, part), getattr(there, part)
        if here != there:
            value = json.dumps(there) if isinstance(there, (bool, tuple)) else there
            found.append(f"{name}: {value}")
    return found


def _rows(own: np.ndarray, start: np.ndarray, rows: Sequence[tuple[int, int]], background: bool) -> np.ndarray:
    """Return an output layer's weight or bias with the rows (here, there) of some classes, and of background."""
    merged = own.copy()
    if background:
        merged[0] = start[0]
        for here, there in rows:
            merged[1 + here] = start[1 + there]
    else:
        for here, there in rows:
            merged[4 * here : 4 * here + 4] = start[4 * there : 4 * there + 4]
    return merged


def _sentence(config: DetectorConfig, start: DetectorConfig, taken: Sequence[int], source: str) -> str:
    names = [config.class_names[index] for index in taken]
    new = [name for name in config.class_names if name not in names]
    parts = [f"starts from {source}: backbone, RPN and head", f"{len(names)} of {len(start.class_names)} classes"]
    if names:
        parts[-1] += f" ({first_few(names, 5)})"
    missing = []
    if new:
        missing.append(f"{len(new)} classes ({first_few(new, 5)})" if len(new) > 1 else f"class {new[0]}")
    here, there = config.anchors.per_cell, start.anchors.per_cell
    if here != there:
        missing.append(f"the RPN's outputs ({there} anchors per cell there, not {here})")
    differing = _differing(config, start, SETTINGS)
    trained = f"; it was trained with {', '.join(differing)}" if differing else ""
    return f"{', '.join(parts)}; random: {' and '.join(missing) or 'nothing'}{trained}"
