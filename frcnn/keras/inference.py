"""A trained network that is ready to detect."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from frcnn.arrays import size_of
from frcnn.detections.detections import Detections
from frcnn.detector.batch import pad_images
from frcnn.detector.config import DetectorConfig
from frcnn.errors import UserError
from frcnn.keras.device import choose_device
from frcnn.keras.faster_rcnn import FasterRCNN
from frcnn.keras.inputs import IMAGE_SIGNATURE, ImageInputs, image_inputs
from frcnn.keras.postprocessing import PaddedDetections
from frcnn.keras.weights import load_model
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision


class KerasDetector:
    """A trained network; what it does for each settings is traced once, for pictures of every size."""

    resizes = False

    def __init__(self, model: FasterRCNN) -> None:
        """Take a network with its weights."""
        self.model = model
        self._traced: dict[Postprocessing, Callable[[ImageInputs], PaddedDetections]] = {}

    @property
    def config(self) -> DetectorConfig:
        """What the network is, apart from its weights."""
        return self.model.config

    def traced(self, settings: Postprocessing) -> Callable[[ImageInputs], PaddedDetections]:
        """Return `FasterRCNN.detect` with these settings."""
        if settings not in self._traced:
            detect = partial(self.model.detect, settings=settings)
            self._traced[settings] = tf.function(detect, input_signature=[IMAGE_SIGNATURE])
        return self._traced[settings]

    def detect(
        self, images: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
    ) -> list[Detections]:
        """Return the detections in resized images, see `frcnn.detector.interfaces.Detector`.

        Raises:
            UserError: bf16, fp16 or `count_empty` is asked for.
        """
        if settings.count_empty:
            raise UserError("detect.count_empty: tensorflow cannot do it here; use detect.framework: torch")
        if precision in ("bf16", "fp16"):
            raise UserError(f"detect.precision: tensorflow has no {precision} here; use float32 or auto")
        sizes = [size_of(image) for image in images]
        inputs = image_inputs(pad_images(images, divisor=self.config.data.size_divisor), sizes, self.config)
        padded = self.traced(settings)(inputs)
        rows = zip(*(part.numpy() for part in padded), strict=True)
        return [Detections(boxes[labels > 0], scores[labels > 0], labels[labels > 0]) for boxes, scores, labels in rows]


def load_detector(weights: Path, device: str) -> KerasDetector:
    """Load a weights file for detection on `cpu`, `cuda`, `cuda:N` or `auto`.

    Raises:
        UserError: the file does not fit, or there is no such device.
    """
    choose_device(device)
    return KerasDetector(load_model(weights))
