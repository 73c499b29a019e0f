"""A network that finds the same in every image."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from frcnn.detections.detections import Detections
from frcnn.params import Data
from frcnn.params.training import Postprocessing

WIDTH, HEIGHT = 40, 30  # of the image


class FakeNetwork:
    """Finds a cat in the left half and a dog in the upper third; the cat's score is how red the first pixel is."""

    resizes = False
    config: Any = SimpleNamespace(
        class_names=("cat", "dog"),
        data=Data(min_size=60, max_size=None),
        postprocessing=Postprocessing(nms_threshold=0.6),
    )

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: Sequence[np.ndarray], settings: Postprocessing, precision: str) -> list[Detections]:
        self.batches.append(len(images))
        found = []
        for image in images:
            assert image.dtype == np.uint8
            height, width = image.shape[:2]
            boxes = np.array([[0, 0, width / 2, height], [0, 0, width, height / 3]], np.float32)
            scores = np.array([image[0, 0, 0] / 255, 0.25], np.float32)
            found.append(Detections(boxes, scores, np.array([1, 2])))
        return found
