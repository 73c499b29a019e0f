"""SGD, Adam and AdamW whose steps are those of torch.optim, for Keras variables.

Keras's own differ: its SGD folds the learning rate into the momentum, which tells when the rate changes, its Adam adds
epsilon before the bias is corrected, and its weight decay of SGD and Adam is no part of the gradient. TensorFlow's
kernels for one step, used here, work in place.
"""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from frcnn.params.training import Optimizer as Settings

SLOTS = {"sgd": ("momentum",), "adam": ("mean", "square"), "adamw": ("mean", "square")}
# Adam's decay rates as its float32 kernel has them: the correction must be for what was averaged.
BETAS = tuple(float(np.float32(beta)) for beta in (0.9, 0.999))
EPSILON = 1e-8


def build_optimizer(variables: Sequence[keras.Variable], settings: Settings) -> "Optimizer":
    """Return the optimizer of the trained variables; see `frcnn.pytorch.optimizer.build_optimizer`.

    Biases and norms (variables of one dimension) have their own rate multiplier and weight decay.
    """
    return Optimizer(variables, settings)


class Optimizer:
    """Variables, slots (tensors of their shapes that remember gradients), and the count of steps."""

    def __init__(self, variables: Sequence[keras.Variable], settings: Settings) -> None:
        """Start at step 0; not within a tf.function."""
        self.settings = settings
        self.variables = list(variables)
        self.slots = [
            [tf.Variable(tf.zeros(v.shape), trainable=False) for _ in SLOTS[settings.name]] for v in variables
        ]
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)

    def update(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor | float) -> None:
        """Move the variables by one step.

        Args:
            gradients: one per variable, in their order; none is missing.
            rate: scalar, the learning rate.
        """
        steps = self.steps.assign_add(1)
        for variable, slots, gradient in zip(self.variables, self.slots, gradients, strict=True):
            many = len(variable.shape) > 1
            decay = self.settings.weight_decay if many else self.settings.bias_weight_decay
            own_rate = tf.cast(rate, tf.float32) * (1.0 if many else self.settings.bias_lr_mult)
            # After its gradient: products with all weights, made early, would lie in memory until theirs come.
            with tf.control_dependencies([gradient]):
                weights = variable.value
                if decay and self.settings.name == "adamw":
                    weights.assign_sub(own_rate * decay * weights)
                elif decay:
                    gradient += decay * weights
                if self.settings.name == "sgd":
                    _momentum_step(weights, slots, gradient, own_rate, self.settings.momentum)
                else:
                    _adam_step(weights, slots, gradient, own_rate, steps)

    def state(self) -> dict[str, np.ndarray]:
        """Return a copy of what a later run needs to go on: every slot by its variable's path, and `steps` (int64)."""
        return {name: slot.numpy() for name, slot in self._state().items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take over what `state` returned for an optimizer of the same kind and variables.

        Raises:
            ValueError: other variables, other shapes or another kind of optimizer.
        """
        own = self._state()
        if own.keys() != state.keys():
            raise ValueError(f"not this optimizer's state: {sorted(own.keys() ^ state.keys())[0]} is on one side only")
        for name, slot in own.items():
            slot.assign(state[name])

    def _state(self) -> dict[str, tf.Variable]:
        names = SLOTS[self.settings.name]
        pairs = zip(self.variables, self.slots, strict=True)
        slots = {f"{v.path}/{name}": slot for v, own in pairs for name, slot in zip(names, own, strict=True)}
        return slots | {"steps": self.steps}


def _momentum_step(
    weights: tf.Variable, slots: list[tf.Variable], gradient: tf.Tensor, rate: tf.Tensor, factor: float
) -> None:
    """Let momentum = factor * momentum + gradient, then weights -= rate * momentum."""
    [momentum] = slots
    tf.raw_ops.ResourceApplyMomentum(
        var=weights.handle, accum=momentum.handle, lr=rate, grad=gradient, momentum=factor, use_locking=True
    )


def _adam_step(
    weights: tf.Variable, slots: list[tf.Variable], gradient: tf.Tensor, rate: tf.Tensor, steps: tf.Tensor
) -> None:
    """Average gradient and its square, then weights -= rate * mean / (sqrt(square) + EPSILON), both corrected for bias.

    The kernel adds epsilon to the uncorrected root and would correct in float32, so the corrections c (of the mean) and
    r (of the root) are made here: rate * mean / c / (sqrt(square) / r + epsilon) is
    (rate * r / c) * mean / (sqrt(square) + epsilon * r).
    """
    mean, square = slots
    mean_share, square_share = (1 - tf.constant(beta, tf.float64) ** tf.cast(steps, tf.float64) for beta in BETAS)
    root = tf.sqrt(square_share)
    tf.raw_ops.ResourceApplyAdam(
        var=weights.handle,
        m=mean.handle,
        v=square.handle,
        beta1_power=0.0,
        beta2_power=0.0,
        lr=rate * tf.cast(root / mean_share, tf.float32),
        beta1=BETAS[0],
        beta2=BETAS[1],
        epsilon=tf.cast(EPSILON * root, tf.float32),
        grad=gradient,
        use_locking=True,
    )
