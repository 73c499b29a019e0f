"""Train the network: what `frcnn.training.loop` asks of it, see `frcnn.detector.interfaces.Learner`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.profiler import record_function

from frcnn.detector.batch import Batch
from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Weights
from frcnn.errors import UserError
from frcnn.params.training import Train
from frcnn.pytorch import data_parallel
from frcnn.pytorch.average import average_of
from frcnn.pytorch.clipping import clip_gradients
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector
from frcnn.pytorch.inputs import Inputs, batch_inputs, to_device
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.pytorch.weights import arrays_of, load_arrays

ONE_CELL = (
    "data.min_size: the feature map of a batch has one cell, and model.norm: trained needs more to normalize; raise "
    "data.min_size and data.max_size, or train.batch_size where several pictures are trained on"
)
OVERFLOW = "train.precision: gradients overflow float16 even unscaled; use bf16 or float32, or a lower learning rate"


class TorchLearner:
    """A `FasterRCNN` on its device, in training mode; several processes each have one and average the gradients."""

    def __init__(self, model: FasterRCNN, train: Train, device: torch.device, precision: torch.dtype) -> None:
        """Take a network on its device; with several processes all have to come here."""
        self.model, self.train, self.device, self.precision = model.train(), train, device, precision
        self.cuda = device.type == "cuda"
        self.to_inputs: Callable[[Batch], Any] = partial(batch_inputs, config=model.config)
        self._network = data_parallel.replicate(model, device)
        half = precision == torch.float16
        # A fused step of SGD spoils its momentum where the scaler has it skipped.
        self._optimizer = build_optimizer(model, train.optimizer, fused=not half)
        self._scaler = torch.amp.GradScaler(device.type, enabled=half)
        self._average = average_of(model, train.ema_decay) if train.ema_decay is not None else None
        self._kept = cast(FasterRCNN, self._average.module) if self._average else model

    @property
    def config(self) -> DetectorConfig:
        """What the network is, apart from its weights."""
        return self.model.config

    @torch.no_grad()
    def losses(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the four losses of a batch."""
        return self._kept(to_device(inputs, self.device), self.train, self.precision)

    def backward(
        self, inputs: Inputs, images: int, batches: int, last: bool, seed: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """Return the four losses of a batch and keep the gradient."""
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        with data_parallel.averaging(self._network, now=last):
            try:
                losses = self._network(to_device(inputs, self.device), self.train, self.precision)
            except ValueError as error:
                if "more than 1 value per channel" not in str(error):
                    raise
                raise UserError(ONE_CELL) from error
            total = data_parallel.mean_of_batch(torch.stack(list(losses.values())).sum(0), images)
            with record_function("backward"):
                self._scaler.scale(total / batches).backward()
        return losses

    def update(self, learning_rate: float) -> None:
        """Let the optimizer take a step; in float16 it is left out, and the scale halved, if a gradient is not finite.

        Raises:
            UserError: the scale has become so small that float16 cannot be used.
        """
        with record_function("optimizer"):
            set_learning_rate(self._optimizer, learning_rate)
            parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
            scale = self._scaler.get_scale()
            self._scaler.unscale_(self._optimizer)
            clip_gradients(parameters, self.train.optimizer.clip_gradients, self.train.optimizer.clip_at)
            self._scaler.step(self._optimizer)
            self._scaler.update()
            self._optimizer.zero_grad(set_to_none=True)
            if self._scaler.get_scale() < 1:
                raise UserError(OVERFLOW)
            if self._average and self._scaler.get_scale() >= scale:
                self._average.update_parameters(self.model)

    def weights(self) -> Weights:
        """Return the weights by name."""
        return arrays_of(self.model)

    def kept_weights(self) -> Weights:
        """Return the weights that are validated and kept."""
        return arrays_of(self._kept)

    def load_weights(self, weights: Weights) -> None:
        """Replace the weights."""
        load_arrays(self.model, weights, "the weights")

    def optimizer_state(self) -> dict[str, Any]:
        """Return what the optimizer keeps between steps, the average, and in float16 the scale of the gradients."""
        state = self._optimizer.state_dict() | ({"average": self._average.state_dict()} if self._average else {})
        return state | ({"scaler": self._scaler.state_dict()} if self._scaler.is_enabled() else {})

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Replace what the optimizer keeps between steps."""
        self._optimizer.load_state_dict(state)
        if self._average:
            self._average.load_state_dict(state["average"])
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])

    @contextmanager
    def evaluating(self) -> Iterator[TorchDetector]:
        """Return a context in which the network does not learn and detects."""
        self._kept.eval()
        data_parallel.share_buffers(self._kept)
        try:
            yield TorchDetector(self._kept, self.device)
        finally:
            self.model.train()
