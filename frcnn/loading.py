"""Load a detector in one call: `frcnn.load`."""

from pathlib import Path
from typing import Any

from frcnn.errors import torch_needed
from frcnn.frameworks import load_detector
from frcnn.params import Detect, from_dict
from frcnn.params.types import Framework, Precision
from frcnn.predictor import Predictor


@torch_needed()
def load(
    weights: str | Path,
    device: str = "auto",
    framework: Framework = "torch",
    *,
    precision: Precision = "float32",
    score_threshold: float = 0.7,
    batch_size: int = 1,
) -> Predictor:
    """Load a trained detector, which finds what `frcnn predict` finds.

    Args:
        weights: a weights file, or the name of a detector trained on COCO, such as coco-mobilenet (see `frcnn models`),
            which is fetched at the first time.
        device: cpu, cuda, cuda:N, mps or auto.
        framework: torch or tensorflow.
        precision: float32, bf16, fp16 or auto.
        score_threshold: lowest score of a detection.
        batch_size: images of a list that the network takes at a time.

    Raises:
        UserError: no such file or name, the file does not fit, there is no such device, or an argument out of range;
            or PyTorch is missing.
    """
    chosen: dict[str, Any] = {
        "framework": framework,
        "precision": precision,
        "score_threshold": score_threshold,
        "batch_size": batch_size,
    }
    from_dict(Detect, chosen, "frcnn.load")  # before anything takes time
    path = Path(weights)
    if not path.suffix:  # what only names have needs torch
        from frcnn.importing.published_detectors import find_detector

        path = find_detector(path)
    network = load_detector(path, device, framework)
    own = network.config.postprocessing
    return Predictor(network, from_dict(Detect, (own.model_dump() if own else {}) | chosen, "frcnn.load"))
