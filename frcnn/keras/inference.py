"""Detect objects with the Keras network; `frcnn.pytorch.inference` resizes the pictures and scales the boxes back."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from frcnn.detector.config import DetectorConfig
from frcnn.errors import UserError
from frcnn.keras.device import choose_device
from frcnn.keras.faster_rcnn import FasterRCNN
from frcnn.keras.inputs import IMAGE_SIGNATURE, ImageInputs, image_inputs
from frcnn.keras.postprocessing import Detections
from frcnn.keras.weights import load_model
from frcnn.params import Detect
from frcnn.pytorch.inference import Found, pad_images


class KerasDetector:
    """A trained network; what it does for each `Detect` is traced once, for pictures of every size."""

    def __init__(self, model: FasterRCNN) -> None:
        """Take a network with its weights."""
        self.model = model
        self._traced: dict[Detect, Callable[[ImageInputs], Detections]] = {}

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""
        return self.model.config

    def traced(self, settings: Detect) -> Callable[[ImageInputs], Detections]:
        """Return `FasterRCNN.detect` with these settings."""
        if settings not in self._traced:
            detect = partial(self.model.detect, settings=settings)
            self._traced[settings] = tf.function(detect, input_signature=[IMAGE_SIGNATURE])
        return self._traced[settings]

    def detect(self, images: Sequence[np.ndarray], settings: Detect) -> list[Found]:
        """Return the detections of resized pictures, see `frcnn.pytorch.inference.Detector`.

        Raises:
            UserError: `settings` ask for bf16.
        """
        if settings.precision == "bf16":
            raise UserError("detect.precision: bf16 is torch's alone; for detect.framework: tensorflow use float32")
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        found = self.traced(settings)(image_inputs(pad_images(images), sizes, self.config))
        rows = zip(*(part.numpy() for part in found), strict=True)
        return [(boxes[labels > 0], scores[labels > 0], labels[labels > 0]) for boxes, scores, labels in rows]


def load_detector(weights: Path, device: str) -> KerasDetector:
    """Load a weights file for detection on `cpu`, `cuda`, `cuda:N` or `auto`.

    Raises:
        UserError: the file does not fit, or there is no such device.
    """
    choose_device(device)
    return KerasDetector(load_model(weights))
