"""Train the Keras network: what `frcnn.training.loop` asks of it, see `frcnn.pytorch.learner`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from torch import Tensor

from frcnn.detector.config import DetectorConfig
from frcnn.keras.clipping import clip_gradients
from frcnn.keras.faster_rcnn import FasterRCNN
from frcnn.keras.inference import KerasDetector
from frcnn.keras.inputs import SIGNATURE, Inputs, batch_inputs
from frcnn.keras.optimizer import build_optimizer
from frcnn.keras.weights import load_state, state
from frcnn.params import Train
from frcnn.pytorch.faster_rcnn import Batch


class KerasLearner:
    """A `FasterRCNN` of Keras with its optimizer, in one process; each part of a step is traced once."""

    device = torch.device("cpu")  # TensorFlow takes the batches from there

    def __init__(self, config: DetectorConfig, weights: Mapping[str, Tensor], train: Train) -> None:
        """Build the network with torch's weights."""
        self.model, self.train = FasterRCNN(config), train
        self.load_weights(weights)
        self._variables = self.model.trainable_variables
        self._optimizer = build_optimizer(self._variables, train)
        self._detector = KerasDetector(self.model)
        self._kept: list[tf.Tensor] = []
        self._evaluate = tf.function(self._losses_in_evaluation, input_signature=[SIGNATURE])
        scalar, seed = tf.TensorSpec((), tf.float32), tf.TensorSpec((2,), tf.int32)
        self._differentiate = tf.function(self._losses_and_gradients, input_signature=[SIGNATURE, seed, scalar])
        self._move = tf.function(self._clip_and_step)

    @property
    def config(self) -> DetectorConfig:
        """What the model is, apart from its weights."""
        return self.model.config

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the four losses of a batch, see `Learner`."""
        return _to_torch(self._evaluate(batch_inputs(batch, self.config)))

    def backward(self, batch: Batch, images: int, batches: int, last: bool, key: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the four losses of a batch and keep the gradient, see `Learner`; `images` are those of the batch."""
        seed = np.random.SeedSequence(key).generate_state(2).astype(np.int32)
        losses, gradients = self._differentiate(batch_inputs(batch, self.config), seed, np.float32(1 / batches))
        self._kept = [a + b for a, b in zip(self._kept, gradients, strict=True)] if self._kept else gradients
        return _to_torch(losses)

    def update(self, rate: float) -> None:
        """Let the optimizer take a step."""
        self._move(self._kept, np.float32(rate))
        self._kept = []

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by torch's names."""
        return {name: torch.from_numpy(np.asarray(array)) for name, array in state(self.model).items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Replace the weights."""
        load_state(self.model, {name: tensor.cpu().numpy() for name, tensor in weights.items()}, "the weights")

    def optimizer_state(self) -> dict[str, Any]:
        """Return what the optimizer keeps between steps."""
        return {name: torch.from_numpy(np.asarray(array)) for name, array in self._optimizer.state().items()}

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """Replace what the optimizer keeps between steps."""
        self._optimizer.load_state({name: tensor.numpy() for name, tensor in state.items()})

    @contextmanager
    def evaluating(self) -> Iterator[KerasDetector]:
        """Return a context in which the model detects; it learns by `backward` and `update` alone."""
        yield self._detector

    def _losses_in_evaluation(self, inputs: Inputs) -> dict[str, tf.Tensor]:
        return self.model.losses(inputs, self.train, training=False)

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
        self._optimizer.update(clip_gradients(gradients, self.train.clip_gradients, self.train.clip_at), rate)


def _to_torch(losses: dict[str, tf.Tensor]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(loss.numpy()) for name, loss in losses.items()}
