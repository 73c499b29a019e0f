"""Run a detector on pictures of any size: resize them, detect, return boxes in pixels of the originals."""

from collections.abc import Sequence

import numpy as np

from frcnn.arrays import size_of
from frcnn.data.resizing.resample import resize
from frcnn.data.resizing.sizes import boxes_to_original, resized_size
from frcnn.detections.detections import Detections
from frcnn.detector.interfaces import Detector
from frcnn.params import Data
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision


def detect_pictures(
    detector: Detector, pictures: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
) -> list[Detections]:
    """Return the detections in one batch of pictures (H, W, 3) uint8 RGB, in pixels of the originals."""
    resized = [prepare(picture, detector) for picture in pictures]
    return detect_resized(detector, resized, [size_of(picture) for picture in pictures], settings, precision)


def prepare(picture: np.ndarray, detector: Detector) -> np.ndarray:
    """Return what the detector takes of a picture (H, W, 3) uint8: itself, or resized."""
    return picture if detector.resizes else resize_picture(picture, detector.config.data)


def resize_picture(picture: np.ndarray, data: Data) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 resized as in training."""
    return resize(picture, *resized_size(size_of(picture), data), data.interpolation, data.antialias)


def detect_resized(
    detector: Detector,
    resized: Sequence[np.ndarray],
    original_sizes: Sequence[tuple[int, int]],
    settings: Postprocessing,
    precision: Precision = "float32",
) -> list[Detections]:
    """Do the work of `detect_pictures` on what `prepare` returned; sizes are (width, height)."""
    if detector.resizes:
        return detector.detect(resized, settings, precision)
    return [
        Detections(boxes_to_original(each.boxes, original, detector.config.data), each.scores, each.labels)
        for each, original in zip(detector.detect(resized, settings, precision), original_sizes, strict=True)
    ]
