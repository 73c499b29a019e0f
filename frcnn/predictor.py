"""A detector that takes images as Python programs have them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from frcnn.arrays import size_of
from frcnn.detections.detections import Detections
from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Detector
from frcnn.detector.run import detect_resized, prepare
from frcnn.images import to_array
from frcnn.messages import first_few
from frcnn.params import Detect
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision
from frcnn.read_ahead import read_ahead
from frcnn.result import Result

if TYPE_CHECKING:
    from frcnn.images import AnyImage


class Prepared(NamedTuple):
    """An image, what the network gets of it, (H, W, 3) uint8, and its width and height."""

    image: "AnyImage"
    resized: np.ndarray
    size: tuple[int, int]


@dataclass(frozen=True)
class Predictor:
    """A trained network with its settings; `frcnn.load` makes one. Threads may share it.

    Attributes:
        network: torch's, TensorFlow's or ONNX's.
        settings: of postprocessing, with precision and number of images in a batch.
    """

    network: Detector
    settings: Detect

    def __repr__(self) -> str:
        """Return what it is in a line."""
        classes = f"{len(self.class_names)} classes: {first_few(self.class_names)}"
        return f"<detector {self.config.model.backbone}, {classes}; score_threshold {self.settings.score_threshold:g}>"

    @property
    def config(self) -> DetectorConfig:
        """What the network is, apart from its weights."""
        return self.network.config

    @property
    def resizes(self) -> bool:
        """Whether the network takes pictures as they are."""
        return self.network.resizes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, C names; label 1 is the first."""
        return self.config.class_names

    @overload
    def __call__(self, images: "AnyImage") -> Result: ...

    @overload
    def __call__(self, images: "list[AnyImage] | tuple[AnyImage, ...]") -> list[Result]: ...

    def __call__(self, images: "AnyImage | list[AnyImage] | tuple[AnyImage, ...]") -> Result | list[Result]:
        """Return what is found in an image, or in each of a list of them.

        Args:
            images: see `frcnn.images.to_array`.

        Raises:
            UserError, TypeError, ValueError: as `to_array`; of a list nothing is returned.
        """
        if isinstance(images, list | tuple):
            return list(self.stream(images))
        return self.find([self.prepare(images)])[0]

    def stream(self, images: "Iterable[AnyImage]") -> Iterator[Result]:
        """Yield what is found in each image of any number, of which a few are in memory at a time.

        Two threads read and resize the next images meanwhile.

        Raises:
            UserError, TypeError, ValueError: as `to_array`, for an image; those before it have been yielded.
        """
        if isinstance(images, str | Path | np.ndarray) or not isinstance(images, Iterable):
            raise TypeError("stream: pass several images, such as a list or a generator; for one call the detector")
        prepared = read_ahead(self.prepare, images)
        while batch := list(islice(prepared, self.settings.batch_size)):
            yield from self.find(batch)

    def prepare(self, image: "AnyImage") -> Prepared:
        """Read and resize an image."""
        picture = to_array(image)
        return Prepared(image, prepare(picture, self.network), size_of(picture))

    def find(self, batch: Sequence[Prepared]) -> list[Result]:
        """Return what is found in one batch of images."""
        resized, sizes = [each.resized for each in batch], [each.size for each in batch]
        found = detect_resized(self.network, resized, sizes, self.settings, self.settings.precision)
        return [
            Result(each.boxes, each.scores, each.labels, tuple(self.class_names), size, image)
            for each, (image, _, size) in zip(found, batch, strict=True)
        ]

    def detect(
        self, images: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
    ) -> list[Detections]:
        """Return the detections in resized images, see `frcnn.detector.interfaces.Detector`."""
        if isinstance(images, np.ndarray):
            raise TypeError("detect: pass a list of resized images, or call the detector itself: detector(image)")
        return self.network.detect([to_array(image) for image in images], settings, precision)
