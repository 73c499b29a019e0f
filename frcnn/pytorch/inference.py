"""A trained network that is ready to detect."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from frcnn.arrays import size_of
from frcnn.detections.detections import Detections
from frcnn.detector.batch import pad_images
from frcnn.detector.config import DetectorConfig
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision
from frcnn.pytorch.device import choose_device, choose_precision, layout
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import image_inputs, to_device
from frcnn.pytorch.weights import load_model


@dataclass(frozen=True)
class TorchDetector:
    """A `FasterRCNN` in evaluation mode on its device."""

    model: FasterRCNN
    device: torch.device
    resizes = False

    @property
    def config(self) -> DetectorConfig:
        """What the network is, apart from its weights."""
        return self.model.config

    def detect(
        self, images: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
    ) -> list[Detections]:
        """Return the detections in resized images, see `frcnn.detector.interfaces.Detector`."""
        padded = pad_images(images, divisor=self.config.data.size_divisor)
        pictures = image_inputs(padded, [size_of(image) for image in images], self.config)
        dtype = choose_precision(precision, self.device)
        found = self.model.detect(to_device(pictures, self.device), settings, dtype)
        return [Detections(*(tensor.cpu().numpy() for tensor in tensors)) for tensors in found]


def load_detector(weights: Path, device: str) -> TorchDetector:
    """Load a weights file for detection on `cpu`, `cuda`, `cuda:N`, `mps` or `auto`.

    Raises:
        UserError: the file does not fit, or there is no such device.
    """
    chosen = choose_device(device)
    model = load_model(weights).to(chosen).eval()
    return TorchDetector(model.to(memory_format=layout(chosen)), chosen)
