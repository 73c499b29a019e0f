"""Detect objects in pictures of any size, in pixels of the originals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from frcnn import boxes
from frcnn.data.resizing.resample import resize
from frcnn.data.resizing.sizes import box_scale, resized_size
from frcnn.detector.config import DetectorConfig
from frcnn.params import Data, Detect
from frcnn.pytorch.device import choose_device, choose_precision
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import load_model

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # boxes (D, 4) in resized pixels, scores (D,), labels (D,)


class Detector(Protocol):
    """A trained model that is ready to detect, of either framework."""

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""

    def detect(self, images: Sequence[np.ndarray], settings: Detect) -> list[Found]:
        """Return the detections of resized pictures (H, W, 3) uint8, each of its own size, best first."""


@dataclass(frozen=True)
class TorchDetector:
    """A `FasterRCNN` in evaluation mode on its device."""

    model: FasterRCNN
    device: torch.device

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""
        return self.model.config

    def detect(self, images: Sequence[np.ndarray], settings: Detect) -> list[Found]:
        """Return the detections of resized pictures, see `Detector`."""
        sizes = [(image.shape[1], image.shape[0]) for image in images]
        precision = choose_precision(settings.precision, self.device)
        found = self.model.detect(pad_images(images).to(self.device), sizes, settings, precision)
        return [(boxes.cpu().numpy(), scores.cpu().numpy(), labels.cpu().numpy()) for boxes, scores, labels in found]


def load_detector(weights: Path, device: str) -> TorchDetector:
    """Load a weights file for detection on `cpu`, `cuda`, `cuda:N` or `auto`.

    Raises:
        UserError: the file does not fit, or there is no such device.
    """
    chosen = choose_device(device)
    model = load_model(weights).to(chosen).eval()
    return TorchDetector(model.to(memory_format=torch.channels_last), chosen)


def detect_images(detector: Detector, images: Sequence[np.ndarray], settings: Detect) -> list[dict[str, np.ndarray]]:
    """Detect objects in one batch of pictures.

    Args:
        images: (H, W, 3) uint8 RGB, each of its own size.

    Returns:
        Per picture, best first: boxes (D, 4) float32 in pixels of the original, scores (D,) float32,
        labels (D,) int64 in 1..C.
    """
    return detect_resized(
        detector,
        [prepare(image, detector.config.data) for image in images],
        [(image.shape[1], image.shape[0]) for image in images],
        settings,
    )


def prepare(image: np.ndarray, data: Data) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 resized as the model was trained."""
    return resize(image, *resized_size((image.shape[1], image.shape[0]), data), data.interpolation)


def detect_resized(
    detector: Detector,
    resized: Sequence[np.ndarray],
    sizes_original: Sequence[tuple[int, int]],
    settings: Detect,
) -> list[dict[str, np.ndarray]]:
    """Do the work of `detect_images` on pictures that `prepare` has resized; sizes are (width, height)."""
    return [
        {"boxes": _to_original(found, original, detector.config.data), "scores": scores, "labels": labels}
        for (found, scores, labels), original in zip(detector.detect(resized, settings), sizes_original, strict=True)
    ]


def pad_images(images: Sequence[np.ndarray], least: tuple[int, int] = (0, 0)) -> torch.Tensor:
    """Stack pictures (H, W, 3) uint8 as (N, 3, Hmax, Wmax), padded with 0 at the right and bottom.

    Args:
        least: (width, height) that the result has at least.
    """
    height = max(least[1], *(image.shape[0] for image in images))
    width = max(least[0], *(image.shape[1] for image in images))
    batch = np.zeros((len(images), height, width, 3), np.uint8)
    for row, image in zip(batch, images, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return torch.from_numpy(batch).permute(0, 3, 1, 2)


def _to_original(resized: np.ndarray, original: tuple[int, int], data: Data) -> np.ndarray:
    return boxes.clip(resized / box_scale(original, data), *map(float, original)).astype(np.float32)
