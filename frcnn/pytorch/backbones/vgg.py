"""VGG-16 (Simonyan and Zisserman, 2015), cut as in Faster R-CNN: conv1_1..conv5_3, and fc6, fc7 for each RoI."""

import torch
from torch import Tensor, nn
from torchvision.models import vgg16

from frcnn.params import Model

# Index in torchvision's `features` at which each of the five blocks begins.
BLOCKS = (0, 5, 10, 17, 24)


class VGGBackbone(nn.Module):
    """Images (N, 3, H, W) to features (N, 512, floor(H/16), floor(W/16)); keys are torchvision's."""

    out_channels = 512

    def __init__(self, features: nn.Sequential, freeze_at: int) -> None:
        """Take torchvision's features up to relu5_3 (pool5 is replaced by RoI pooling)."""
        super().__init__()
        self.features = features[:30]
        frozen_end = BLOCKS[freeze_at] if freeze_at < len(BLOCKS) else len(self.features)
        for layer in self.features[:frozen_end]:
            layer.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature map of relu5_3."""
        return [self.features(images)]


class VGGHead(nn.Module):
    """RoI features (R, 512, 7, 7) to vectors (R, 4096) by fc6 and fc7; keys are torchvision's."""

    out_channels = 4096

    def __init__(self, classifier: nn.Sequential, dropout: float) -> None:
        """Take torchvision's classifier without its last layer, with the given dropout."""
        super().__init__()
        self.classifier = classifier[:6]
        for layer in self.classifier:
            if isinstance(layer, nn.Dropout):
                layer.p = dropout

    def forward(self, features: Tensor) -> Tensor:
        """Flatten (channel, row, column) and return fc7's activations."""
        return self.classifier(torch.flatten(features, 1))


def build_vgg(model: Model) -> tuple[VGGBackbone, VGGHead]:
    """Return backbone and head with random weights."""
    network = vgg16(weights=None)
    return VGGBackbone(network.features, model.freeze_at), VGGHead(network.classifier, model.dropout)
