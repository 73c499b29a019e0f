"""Feature pyramids (Lin et al., 2017) on a ResNet-50 or MobileNetV3, and the heads of torchvision's detectors.

The layers are torchvision's, and so are their names.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, TwoMLPHead
from torchvision.models.resnet import ResNet

from frcnn.backbones import BACKBONES
from frcnn.params import Model
from frcnn.pytorch.backbones.resnet import FrozenBatchNorm, NormedBottleneck

CHANNELS, VECTOR, ROI_SIZE = 256, 1024, 7


class PyramidBackbone(BackboneWithFPN):  # type: ignore[misc]  # torchvision has no types
    """Images (N, 3, H, W) to feature maps (N, 256, ceil(H / stride), ceil(W / stride)), from the finest.

    The last is every second cell of the one before it.
    """

    def __init__(
        self, network: nn.Module, outputs: dict[str, int], frozen: Sequence[nn.Module], norm: type[nn.Module] | None
    ) -> None:
        """Build the pyramid.

        Args:
            network: whose layers these are.
            outputs: its layers that the pyramid starts from and their channels.
            frozen: the layers that are not trained.
            norm: of the pyramid's own convolutions.
        """
        layers = {name: str(number) for number, name in enumerate(outputs)}
        super().__init__(network, layers, list(outputs.values()), CHANNELS, norm_layer=norm)
        self._frozen = list(frozen)
        for part in self._frozen:
            part.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return all feature maps."""
        return list(super().forward(images).values())

    def train(self, mode: bool = True) -> "PyramidBackbone":
        """Set the mode, except that frozen parts keep their running statistics."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self


def build_pyramid(model: Model) -> tuple[PyramidBackbone, nn.Module]:
    """Return backbone and head, of RoI features (R, 256, 7, 7) to vectors (R, 1024), with random weights."""
    table = BACKBONES[model.backbone]
    norm = FrozenBatchNorm if model.norm == "frozen" else nn.BatchNorm2d
    of_pyramid = norm if table.convolutional_heads else None
    if table.body == "resnet50":
        network = ResNet(NormedBottleneck, [3, 4, 6, 3], norm_layer=norm)
        outputs = {f"layer{stage}": CHANNELS << (stage - 1) for stage in (1, 2, 3, 4)}
        stages = [nn.ModuleList([network.conv1, network.bn1]), *(getattr(network, name) for name in outputs)]
    else:
        network = mobilenet_v3_large(weights=None, norm_layer=norm).features
        # Stages begin with the layers of stride 2; the last layer is one of its own.
        strided = [index for index, layer in enumerate(network) if getattr(layer, "_is_cn", False)]
        first = [0, *strided, len(network) - 1]
        outputs = {str(index): network[index].out_channels for index in first[-2:]}
        stages = [network[start:end] for start, end in zip(first, [*first[1:], len(network)], strict=True)]
    head: nn.Module
    if table.convolutional_heads:
        head = FastRCNNConvFCHead((CHANNELS, ROI_SIZE, ROI_SIZE), 4 * [CHANNELS], [VECTOR], norm_layer=norm)
    else:
        head = TwoMLPHead(CHANNELS * ROI_SIZE**2, VECTOR)
    head.out_channels = VECTOR  # type: ignore[assignment]  # as the other heads say it
    return PyramidBackbone(network, outputs, stages[: model.freeze_at], of_pyramid), head
