"""What training starts from."""

from contextlib import suppress
from pathlib import Path

DETECTOR, PRETRAINED, RANDOM = "a detector", "pretrained weights", "random weights"
HEADER = 1 << 20  # bytes


def start_of(weights: str) -> str:
    """Return which of the three `model.weights` names; of a file no more than the header is read."""
    if weights == "none":
        return RANDOM
    if weights.startswith("coco"):
        return DETECTOR
    with suppress(OSError), Path(weights).open("rb") as file:
        return DETECTOR if b"frcnn-weights" in file.read(HEADER) else PRETRAINED
    return PRETRAINED
