"""ResNets (He et al., 2016) cut as C4: stem to layer3 for the image, layer4 for each RoI.

Strides are in the 3 x 3 convolutions, as torchvision has them, from which the names are taken.
"""

import keras
import tensorflow as tf

from frcnn.backbones import BACKBONES
from frcnn.keras.layers import BatchNorm, Conv, FrozenBatchNorm
from frcnn.params import Model

NORMS = {"frozen": FrozenBatchNorm, "trained": BatchNorm}


class NormedConv(keras.layers.Layer):
    """A convolution without bias, and a batch norm."""

    def __init__(
        self, names: tuple[str, str], inputs: int, outputs: int, size: int, stride: int, norm: str, trained: bool
    ) -> None:
        """Build both layers under their names; `norm` is `frozen` or `trained`."""
        super().__init__()
        conv, own_norm = names
        self.conv = Conv(inputs, outputs, size, conv, stride=stride, bias=False, trained=trained)
        self.norm = NORMS[norm](outputs, own_norm, trained=trained and norm == "trained")
        self.built = True

    def call(self, maps: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the normalized maps."""
        return self.norm(self.conv(maps), training=training)


class Block(keras.layers.Layer):
    """A residual block: two 3 x 3 convolutions, or a bottleneck of 1 x 1, 3 x 3 and 1 x 1, beside a shortcut."""

    def __init__(
        self, name: str, inputs: int, width: int, stride: int, bottleneck: bool, norm: str, trained: bool
    ) -> None:
        """Build the block; `width` are the channels of its 3 x 3 convolutions."""
        super().__init__()
        self.out_channels = 4 * width if bottleneck else width
        if bottleneck:
            kinds = [(width, 1, 1), (width, 3, stride), (self.out_channels, 1, 1)]
        else:
            kinds = [(width, 3, stride), (width, 3, 1)]
        self.convolutions = []
        channels = inputs
        for place, (outputs, size, own_stride) in enumerate(kinds, 1):
            names = (f"{name}.conv{place}", f"{name}.bn{place}")
            self.convolutions.append(NormedConv(names, channels, outputs, size, own_stride, norm, trained))
            channels = outputs
        self.downsample = None
        if stride > 1 or inputs != self.out_channels:
            names = (f"{name}.downsample.0", f"{name}.downsample.1")
            self.downsample = NormedConv(names, inputs, self.out_channels, 1, stride, norm, trained)
        self.built = True

    def call(self, maps: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return maps (N, ceil(H / stride), ceil(W / stride), out_channels)."""
        shortcut = maps if self.downsample is None else self.downsample(maps, training=training)
        for convolution in self.convolutions[:-1]:
            maps = tf.nn.relu(convolution(maps, training=training))
        return tf.nn.relu(self.convolutions[-1](maps, training=training) + shortcut)


class ResNetBackbone(keras.layers.Layer):
    """Images (N, H, W, 3) to features (N, ceil(H/16), ceil(W/16), D)."""

    def __init__(self, backbone: str, width: int, norm: str, freeze_at: int) -> None:
        """Build stem to layer3 and freeze the first `freeze_at` of (stem, layer1, layer2, layer3)."""
        super().__init__(name="backbone")
        self.stem = NormedConv(("backbone.conv1", "backbone.bn1"), 3, width, 7, 2, norm, freeze_at < 1)
        self.stages = []
        self.out_channels = width
        for stage in (1, 2, 3):
            blocks = _stage("backbone", backbone, stage, self.out_channels, width, norm, freeze_at <= stage)
            self.stages.append(blocks)
            self.out_channels = blocks[-1].out_channels
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return the feature map of layer3."""
        maps = tf.nn.relu(self.stem(images, training=training))
        # What lies around the map is 0, no more than what comes out of a ReLU.
        maps = tf.nn.max_pool2d(tf.pad(maps, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")
        for blocks in self.stages:
            for block in blocks:
                maps = block(maps, training=training)
        return maps


class ResNetHead(keras.layers.Layer):
    """RoI features (R, 7, 7, D) to vectors (R, 2D) by layer4 and pooling."""

    def __init__(self, backbone: str, inputs: int, width: int, norm: str, pool: str) -> None:
        """Build layer4; `pool` is avg or max over its 4 x 4 map."""
        super().__init__(name="head")
        self.blocks = _stage("head", backbone, 4, inputs, width, norm, trained=True)
        self.out_channels = self.blocks[-1].out_channels
        self._reduce = tf.reduce_mean if pool == "avg" else tf.reduce_max
        self.built = True

    def call(self, features: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Return one vector per RoI; nothing is drawn by `seed`, which VGG's head needs."""
        for block in self.blocks:
            features = block(features, training=training)
        return self._reduce(features, axis=[1, 2])


def build_resnet(model: Model) -> tuple[ResNetBackbone, ResNetHead]:
    """Return backbone and head with random weights."""
    features = ResNetBackbone(model.backbone, model.width, model.norm, model.freeze_at)
    return features, ResNetHead(model.backbone, features.out_channels, model.width, model.norm, model.head_pool)


def _stage(part: str, backbone: str, stage: int, inputs: int, width: int, norm: str, trained: bool) -> list[Block]:
    """Return the blocks of layer `stage` (1..4), whose names begin with the part of the detector that has it."""
    table = BACKBONES[backbone]
    blocks: list[Block] = []
    for place in range(table.blocks[stage - 1]):
        stride = 2 if stage > 1 and place == 0 else 1
        own_inputs = blocks[-1].out_channels if blocks else inputs
        name = f"{part}.layer{stage}.{place}"
        own_width = width * 2 ** (stage - 1)
        blocks.append(Block(name, own_inputs, own_width, stride, table.bottleneck, norm, trained))
    return blocks
