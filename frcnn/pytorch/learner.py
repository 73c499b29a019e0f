"""What the training loop asks of a model that learns, so that one loop serves torch and TensorFlow.

Tensors that cross this border are torch's; weights have the names and layouts of `FasterRCNN.state_dict()`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from frcnn import distributed
from frcnn.detector.config import DetectorConfig
from frcnn.params import Train
from frcnn.pytorch.clipping import clip_gradients
from frcnn.pytorch.faster_rcnn import Batch, FasterRCNN
from frcnn.pytorch.inference import Detector, TorchDetector
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate


class Learner(Protocol):
    """A model with its optimizer.

    Attributes:
        device: where the batches are to be; what the losses are on.
    """

    device: torch.device

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four losses of a batch, each (N,), and learn nothing."""

    def backward(self, batch: Batch, images: int, batches: int, last: bool, key: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the four losses of a batch, each (N,), and keep the gradient for `update`.

        Args:
            images: number of images in the whole batch, of which several processes have a share each.
            batches: number of batches that the optimizer's next step sums up, the `last` of which this may be.
            key: seeds what is random in the network, its dropout.
        """

    def update(self, rate: float) -> None:
        """Let the optimizer take a step at a learning rate with the gradients that were kept."""

    def weights(self) -> dict[str, Tensor]:
        """Return the weights, which are not to be changed."""

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Replace the weights."""

    def optimizer_state(self) -> dict[str, Any]:
        """Return what the optimizer keeps between steps, as `torch.save` can store it."""

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Replace what the optimizer keeps between steps."""

    def evaluating(self) -> AbstractContextManager[Detector]:
        """Return a context in which the model does not learn and detects."""


class TorchLearner:
    """A `FasterRCNN` on its device, in training mode; several processes each have one and average the gradients."""

    def __init__(self, model: FasterRCNN, train: Train, device: torch.device, precision: torch.dtype) -> None:
        """Take a model on its device; with several processes all have to come here."""
        self.model, self.train, self.device, self.precision = model.train(), train, device, precision
        self._losses = distributed.averaged(model, model.losses, device)
        self._optimizer = build_optimizer(model, train)

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""
        return self.model.config

    @torch.no_grad()
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four losses of a batch, see `Learner`."""
        return self.model.losses(batch.to(self.device), self.train, self.precision)

    def backward(self, batch: Batch, images: int, batches: int, last: bool, key: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the four losses of a batch and keep the gradient, see `Learner`."""
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        with distributed.averaging(self._losses, now=last):
            found = self._losses(batch.to(self.device), self.train, self.precision)
            total = distributed.mean_of_batch(torch.stack(list(found.values())).sum(0), images)
            (total / batches).backward()
        return found

    def update(self, rate: float) -> None:
        """Let the optimizer take a step."""
        set_learning_rate(self._optimizer, rate)
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        clip_gradients(parameters, self.train.clip_gradients, self.train.clip_at)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name."""
        return self.model.state_dict()

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Replace the weights."""
        self.model.load_state_dict(weights)

    def optimizer_state(self) -> dict[str, Any]:
        """Return what the optimizer keeps between steps."""
        return self._optimizer.state_dict()

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Replace what the optimizer keeps between steps."""
        self._optimizer.load_state_dict(state)

    @contextmanager
    def evaluating(self) -> Iterator[Detector]:
        """Return a context in which the model does not learn and detects."""
        self.model.eval()
        distributed.share_buffers(self.model)
        try:
            yield TorchDetector(self.model, self.device)
        finally:
            self.model.train()
