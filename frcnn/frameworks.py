"""Load a trained detector into the framework that is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frcnn.pytorch.inference import Detector


def load(weights: Path, device: str, framework: str) -> "Detector":
    """Load a weights file for detection on `cpu`, `cuda`, `cuda:N` or `auto`, with `torch` or `tensorflow`.

    Raises:
        UserError: the file does not fit, or there is no such device, or TensorFlow is not installed.
    """
    if framework == "tensorflow":
        from frcnn.keras.inference import load_detector as load_keras_detector

        return load_keras_detector(weights, device)
    from frcnn.pytorch.inference import load_detector

    return load_detector(weights, device)
