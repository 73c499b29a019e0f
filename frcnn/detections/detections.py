"""Detections of an image and of a split, in the form that networks, files, evaluation and pictures share."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from frcnn.arrays import offsets


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one image, best first.

    Attributes:
        boxes: (D, 4) float32 xyxy, continuous pixels: of the resized image from a network, else of the original.
        scores: (D,) float32.
        labels: (D,) int64, 1..C.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Return the number of detections."""
        return len(self.scores)

    def above(self, score: float) -> Self:
        """Return those with at least this score."""
        return self.take(self.scores >= score)

    def take(self, chosen: np.ndarray) -> Self:
        """Return those that are True in (D,) bool, or those of these indices."""
        return replace(self, boxes=self.boxes[chosen], scores=self.scores[chosen], labels=self.labels[chosen])


@dataclass(frozen=True)
class SplitDetections:
    """Detections of N images of a split, in pixels of the original pictures, in flat arrays.

    Attributes:
        image_ids: N ids.
        class_names: C names, without background.
        offsets: (N + 1,) int64; image i owns rows offsets[i] to offsets[i + 1].
        boxes: (D, 4) float32 xyxy.
        scores: (D,) float32.
        labels: (D,) int64, 1..C.
        split: name of the split.
        provenance: `weights` and `dataset` (SHA-256 of the weights file and over the split) and `detect` (the
            parameters); empty if nothing is known, as of COCO results.
    """

    image_ids: list[str]
    class_names: list[str]
    offsets: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    split: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def image_index(self) -> np.ndarray:
        """Index of the image, 0..N-1, of each detection, (D,) int64."""
        return np.repeat(np.arange(len(self.image_ids)), np.diff(self.offsets))

    def of_image(self, index: int) -> Detections:
        """Return the detections of the image of this index."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        return Detections(self.boxes[rows], self.scores[rows], self.labels[rows])


def join_detections(
    image_ids: Sequence[str],
    class_names: Sequence[str],
    images: Sequence[Detections],
    split: str = "",
    provenance: dict[str, Any] | None = None,
) -> SplitDetections:
    """Join the detections of single images, in the order of the ids."""
    return SplitDetections(
        list(image_ids),
        list(class_names),
        offsets([len(image) for image in images]),
        np.concatenate([np.empty((0, 4), np.float32), *(image.boxes.astype(np.float32) for image in images)]),
        np.concatenate([np.empty(0, np.float32), *(image.scores.astype(np.float32) for image in images)]),
        np.concatenate([np.empty(0, np.int64), *(image.labels.astype(np.int64) for image in images)]),
        split,
        provenance or {},
    )
