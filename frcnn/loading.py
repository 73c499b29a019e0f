"""Load a detector in one call: `frcnn.load`."""

from pathlib import Path

from frcnn.detector.interfaces import Detector
from frcnn.frameworks import load_detector
from frcnn.importing.published_detectors import find_detector
from frcnn.params.types import Framework


def load(weights: str | Path, device: str = "auto", framework: Framework = "torch") -> Detector:
    """Load a trained detector.

    Args:
        weights: a weights file, or the name of a detector trained on COCO, such as coco-mobilenet (see `frcnn models`),
            which is fetched at the first time.
        device: cpu, cuda, cuda:N or auto.
        framework: torch or tensorflow.

    Raises:
        UserError: no such file or name, the file does not fit, or there is no such device.
    """
    return load_detector(find_detector(Path(weights)), device, framework)
