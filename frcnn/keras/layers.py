"""Layers that compute what torch's do; a layer's name and its variables' names make the name of torch's tensor.

Maps are (N, H, W, D) float32. Variables of what is not trained are made so: nothing is kept for their gradients.
"""

import keras
import tensorflow as tf

EPSILON, MOMENTUM = 1e-5, 0.1  # of batch norms, torch's defaults


class Conv(keras.layers.Layer):
    """Convolution with size // 2 zeros on every side, as torch pads; `weight` (size, size, inputs, outputs)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        name: str,
        *,
        stride: int = 1,
        bias: bool = True,
        std: float | None = None,
        trained: bool = True,
    ) -> None:
        """Draw the weights from N(0, std^2), by default He et al.'s for ReLUs and the outputs' fan; biases are 0."""
        super().__init__(name=name)
        spread = keras.initializers.RandomNormal(stddev=std or (2 / (size**2 * outputs)) ** 0.5)
        self.weight = self.add_weight(
            name="weight", shape=(size, size, inputs, outputs), initializer=spread, trainable=trained
        )
        self.bias = (
            self.add_weight(name="bias", shape=(outputs,), initializer="zeros", trainable=trained) if bias else None
        )
        self._stride, self._margin = stride, size // 2
        self.built = True

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        """Return maps (N, ceil(H / stride), ceil(W / stride), outputs)."""
        padding = "SAME"
        if self._stride > 1:  # there SAME pads less at the top and left; given as numbers, padding is slower backwards
            margin, padding = [self._margin, self._margin], "VALID"
            maps = tf.pad(maps, [[0, 0], margin, margin, [0, 0]])
        maps = tf.nn.conv2d(maps, self.weight, self._stride, padding)
        return maps if self.bias is None else tf.nn.bias_add(maps, self.bias)


class Dense(keras.layers.Layer):
    """Vectors (R, inputs) to (R, outputs); `weight` (inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int, name: str, *, std: float) -> None:
        """Draw the weights from N(0, std^2); biases are 0."""
        super().__init__(name=name)
        spread = keras.initializers.RandomNormal(stddev=std)
        self.weight = self.add_weight(name="weight", shape=(inputs, outputs), initializer=spread)
        self.bias = self.add_weight(name="bias", shape=(outputs,), initializer="zeros")
        self.built = True

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        """Return the vectors' images."""
        return tf.nn.bias_add(tf.matmul(vectors, self.weight), self.bias)


class FrozenBatchNorm(keras.layers.Layer):
    """Scale and shift each channel by constants; torchvision's FrozenBatchNorm2d."""

    def __init__(self, channels: int, name: str, *, trained: bool = False) -> None:
        """Start as the identity (but for EPSILON)."""
        super().__init__(name=name)
        for variable, value, learns in (
            ("weight", "ones", trained),
            ("bias", "zeros", trained),
            ("running_mean", "zeros", False),
            ("running_var", "ones", False),
        ):
            made = self.add_weight(name=variable, shape=(channels,), initializer=value, trainable=learns)
            setattr(self, variable, made)
        self.built = True

    def call(self, maps: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the normalized maps."""
        scale = self.weight * tf.math.rsqrt(self.running_var + EPSILON)
        return maps * scale + (self.bias - self.running_mean * scale)


class BatchNorm(FrozenBatchNorm):
    """torch.nn.BatchNorm2d: in training by the batch's own mean and variance, of which running ones are kept.

    Keras's own layer keeps the biased variance; torch, and this one, the unbiased.
    """

    def __init__(self, channels: int, name: str, *, trained: bool) -> None:
        """Start as the identity; what is not trained is always as in evaluation."""
        super().__init__(channels, name, trained=trained)
        self.num_batches_tracked = self.add_weight(
            name="num_batches_tracked", shape=(), dtype="int64", initializer="zeros", trainable=False
        )
        self._trained = trained

    def call(self, maps: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the normalized maps; in training the running statistics move."""
        if not (training and self._trained):
            return super().call(maps)
        # tf.nn.fused_batch_norm would raise epsilon to 1.001e-5. The variance it returns is the unbiased one.
        maps, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=maps, scale=self.weight, offset=self.bias, mean=[], variance=[], epsilon=EPSILON, is_training=True
        )
        for running, own in ((self.running_mean, mean), (self.running_var, variance)):
            own = tf.where(tf.size(maps) > 0, own, running)  # without RoIs there is nothing to learn from
            running.assign((1 - MOMENTUM) * running + MOMENTUM * own)
        self.num_batches_tracked.assign_add(1)
        return maps
