"""Train the Keras network: what `frcnn.training.loop` asks of it, see `frcnn.detector.interfaces.Learner`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from torch import Tensor

from frcnn.detector.batch import Batch
from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Weights
from frcnn.keras.clipping import clip_gradients
from frcnn.keras.faster_rcnn import FasterRCNN
from frcnn.keras.inference import KerasDetector
from frcnn.keras.inputs import SIGNATURE, Inputs, batch_inputs
from frcnn.keras.optimizer import build_optimizer
from frcnn.keras.weights import arrays_of, load_arrays
from frcnn.params.training import Train

AVERAGE = "average/"  # before a tensor's name in the state of the optimizer


class KerasLearner:
    """A `FasterRCNN` of Keras with its optimizer, in one process; each part of a step is traced once."""

    cuda = False  # of torch, whose tensors the losses become

    def __init__(self, config: DetectorConfig, weights: Weights, train: Train) -> None:
        """Build the network with weights in PyTorch's layouts."""
        self.model, self.train = FasterRCNN(config), train
        self._kept = FasterRCNN(config) if train.ema_decay is not None else self.model
        self.to_inputs: Callable[[Batch], Any] = partial(batch_inputs, config=config)
        self.load_weights(weights)
        load_arrays(self._kept, weights, "the weights")
        self._variables = self.model.trainable_variables
        self._optimizer = build_optimizer(self._variables, train.optimizer)
        self._detector = KerasDetector(self._kept)
        self._gradients: list[tf.Tensor] = []
        self._evaluate = tf.function(self._losses_in_evaluation, input_signature=[SIGNATURE])
        scalar, seed = tf.TensorSpec((), tf.float32), tf.TensorSpec((2,), tf.int32)
        self._differentiate = tf.function(self._losses_and_gradients, input_signature=[SIGNATURE, seed, scalar])
        self._move = tf.function(self._clip_and_step)

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""
        return self.model.config

    def losses(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the four losses of a batch."""
        return _to_torch(self._evaluate(inputs))

    def backward(
        self, inputs: Inputs, images: int, batches: int, last: bool, seed: tuple[int, ...]
    ) -> dict[str, Tensor]:
        """Return the four losses of a batch and keep the gradient, `images` are those of the batch."""
        of_dropout = np.random.SeedSequence(seed).generate_state(2).astype(np.int32)
        losses, gradients = self._differentiate(inputs, of_dropout, np.float32(1 / batches))
        summed = [a + b for a, b in zip(self._gradients, gradients, strict=True)] if self._gradients else gradients
        self._gradients = summed
        return _to_torch(losses)

    def update(self, learning_rate: float) -> None:
        """Let the optimizer take a step."""
        self._move(self._gradients, np.float32(learning_rate))
        self._gradients = []

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
        """Return what the optimizer keeps between steps, and the average."""
        state = {name: np.asarray(array) for name, array in self._optimizer.state().items()}
        average = self.kept_weights() if self._kept is not self.model else {}
        state |= {f"{AVERAGE}{name}": array for name, array in average.items()}
        return {name: torch.from_numpy(array) for name, array in state.items()}

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Replace what the optimizer keeps between steps."""
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        average = {name.removeprefix(AVERAGE): arrays.pop(name) for name in state if name.startswith(AVERAGE)}
        self._optimizer.load_state(arrays)
        if average:
            load_arrays(self._kept, average, "the average")

    @contextmanager
    def evaluating(self) -> Iterator[KerasDetector]:
        """Return a context in which the model detects; it learns by `backward` and `update` alone."""
        yield self._detector

    def _losses_in_evaluation(self, inputs: Inputs) -> dict[str, tf.Tensor]:
        return self._kept.losses(inputs, self.train, training=False)

    def _losses_and_gradients(
        self, inputs: Inputs, seed: tf.Tensor, share: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            losses = self.model.losses(inputs, self.train, seed)
            total = tf.reduce_mean(tf.add_n(list(losses.values()))) * share
        return losses, tape.gradient(
            total, [variable.value for variable in self._variables], unconnected_gradients="zero"
        )

    def _clip_and_step(self, gradients: list[tf.Tensor], rate: tf.Tensor) -> None:
        settings = self.train.optimizer
        self._optimizer.update(clip_gradients(gradients, settings.clip_gradients, settings.clip_at), rate)
        if self._kept is not self.model:
            self._follow()

    def _follow(self) -> None:
        """Let the average follow, as `frcnn.pytorch.average` does: after the first step it is the weights."""
        count = tf.cast(self._optimizer.steps - 1, tf.float32)
        decay = tf.minimum((1 + count) / (10 + count), self.train.ema_decay)
        share = tf.where(count == 0, 1.0, 1 - decay)
        for average, variable in zip(self._kept.variables, self.model.variables, strict=True):
            whole = not variable.value.dtype.is_floating  # a count, which is copied
            average.assign(variable if whole else average + share * (variable - average))


def _to_torch(losses: dict[str, tf.Tensor]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(loss.numpy()) for name, loss in losses.items()}
