"""VGG-16 (Simonyan and Zisserman, 2015), cut as in Faster R-CNN: conv1_1..conv5_3, and fc6, fc7 for each RoI."""

import keras
import tensorflow as tf

from frcnn.detector.layouts import ROI_SIZE
from frcnn.keras.layers import Conv, Dense
from frcnn.params import Model

# Of the five blocks: index of the first layer in torchvision's `features`, number of convolutions, their channels.
BLOCKS = ((0, 2, 64), (5, 2, 128), (10, 3, 256), (17, 3, 512), (24, 3, 512))


class VGGBackbone(keras.layers.Layer):
    """Images (N, H, W, 3) to features (N, floor(H/16), floor(W/16), 512); names are torchvision's."""

    out_channels = 512

    def __init__(self, freeze_at: int) -> None:
        """Build the convolutions and freeze the first `freeze_at` blocks."""
        super().__init__(name="backbone")
        self.blocks = []
        inputs = 3
        for block, (start, count, channels) in enumerate(BLOCKS):
            convolutions = []
            for index in range(start, start + 2 * count, 2):  # a ReLU follows each
                name = f"backbone.features.{index}"
                convolutions.append(Conv(inputs, channels, 3, name, trained=block >= freeze_at))
                inputs = channels
            self.blocks.append(convolutions)
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the feature map of relu5_3."""
        maps = images
        for block, convolutions in enumerate(self.blocks):
            if block > 0:
                maps = tf.nn.max_pool2d(maps, 2, 2, "VALID")
            for convolution in convolutions:
                maps = tf.nn.relu(convolution(maps))
        return maps


class VGGHead(keras.layers.Layer):
    """RoI features (R, 7, 7, 512) to vectors (R, 4096) by fc6 and fc7; names are torchvision's."""

    out_channels = 4096

    def __init__(self, dropout: float) -> None:
        """Build both layers, weights N(0, 0.01^2); `dropout` follows each in training."""
        super().__init__(name="head")
        inputs = ROI_SIZE**2 * VGGBackbone.out_channels
        self.fc6 = Dense(inputs, 4096, "head.classifier.0", std=0.01)
        self.fc7 = Dense(4096, 4096, "head.classifier.3", std=0.01)
        self._dropout = dropout
        self.built = True

    def call(self, features: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Flatten (row, column, channel) and return fc7's activations.

        Args:
            seed: (2,) int32, which decides what is dropped; needed in training where there is dropout.
        """
        vectors = tf.reshape(features, [-1, self.fc6.weight.shape[0]])
        for place, layer in enumerate((self.fc6, self.fc7)):
            vectors = tf.nn.relu(layer(vectors))
            if training and self._dropout:
                own_seed = tf.random.experimental.stateless_fold_in(seed, place)
                vectors = tf.nn.experimental.stateless_dropout(vectors, self._dropout, own_seed)
        return vectors


def build_vgg(model: Model) -> tuple[VGGBackbone, VGGHead]:
    """Return backbone and head with random weights."""
    return VGGBackbone(model.freeze_at), VGGHead(model.dropout)
