"""What the rest of the project asks of a network, so that one pipeline serves PyTorch and TensorFlow."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from frcnn.detections.detections import Detections
from frcnn.detector.batch import Batch
from frcnn.detector.config import DetectorConfig
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision

if TYPE_CHECKING:  # what detects without torch imports this, too
    from torch import Tensor

Weights = dict[str, np.ndarray]  # by the names, and in the layouts, of the PyTorch network's `state_dict()`


class Detector(Protocol):
    """A trained network that is ready to detect."""

    @property
    def config(self) -> DetectorConfig:
        """What the network is, apart from its weights."""

    @property
    def resizes(self) -> bool:
        """Whether `detect` takes pictures as they are, and returns boxes in their pixels."""

    def detect(
        self, images: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
    ) -> list[Detections]:
        """Return the detections in resized images (H, W, 3) uint8, each of its own size, in resized pixels."""


class Learner(Protocol):
    """A network with its optimizer.

    Attributes:
        cuda: whether the losses are on a CUDA device, so that reading them makes the host wait.
        to_inputs: turns a batch into what `losses` and `backward` take; called in the processes that load pictures.
    """

    cuda: bool
    to_inputs: Callable[[Batch], Any]

    @property
    def config(self) -> DetectorConfig:
        """What the network is, apart from its weights."""

    def losses(self, inputs: Any) -> "dict[str, Tensor]":
        """Return the four losses of a batch, each (N,), and learn nothing."""

    def backward(
        self, inputs: Any, images: int, batches: int, last: bool, seed: tuple[int, ...]
    ) -> "dict[str, Tensor]":
        """Return the four losses of a batch, each (N,), and keep the gradient for `update`.

        Args:
            images: number of images in the whole batch, of which several processes have a share each.
            batches: number of batches that the optimizer's next step sums up, the `last` of which this may be.
            seed: of the network's dropout.
        """

    def update(self, learning_rate: float) -> None:
        """Let the optimizer take a step with the gradients that were kept."""

    def weights(self) -> Weights:
        """Return the weights, which are not to be changed."""

    def kept_weights(self) -> Weights:
        """Return the weights that are validated and kept: with `train.ema_decay` their average."""

    def load_weights(self, weights: Weights) -> None:
        """Replace the weights."""

    def optimizer_state(self) -> dict[str, Any]:
        """Return what the optimizer keeps between steps, as `torch.save` can store it."""

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Replace what the optimizer keeps between steps."""

    def evaluating(self) -> AbstractContextManager[Detector]:
        """Return a context in which the network does not learn and detects."""
