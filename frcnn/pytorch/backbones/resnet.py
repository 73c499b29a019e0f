"""ResNets (He et al., 2016) cut as C4: stem to layer3 for the image, layer4 for each RoI."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from frcnn.backbones import BACKBONES
from frcnn.params import Model


class FrozenBatchNorm(FrozenBatchNorm2d):  # type: ignore[misc]  # torchvision has no types
    """torchvision's frozen batch norm, except that half precision stays what it is."""

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift each channel by constants."""
        scale, shift = self.scale_and_shift()
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the constants (C,) of the channels."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale


def convolve(convolution: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """Return norm(convolution(x)), a frozen norm folded into the convolution where half precision hides it.

    In float32 nothing is folded: the last bits of the result would change.
    """
    if isinstance(norm, FrozenBatchNorm) and torch.is_autocast_enabled(x.device.type):
        return folded(convolution, norm, x)
    return norm(convolution(x))


def folded(convolution: nn.Conv2d, norm: FrozenBatchNorm, x: Tensor) -> Tensor:
    """Return norm(convolution(x)) by one operation: the scale goes into the weights, the shift becomes the bias."""
    scale, shift = norm.scale_and_shift()
    weight = convolution.weight * scale[:, None, None, None]
    if convolution.kernel_size != (1, 1):
        return functional.conv2d(x, weight, shift, convolution.stride, convolution.padding)
    # As a matrix product it is faster on the CPU, the gradient of the weights above all, twice if there is a stride.
    rows, columns = convolution.stride
    cells = x.permute(0, 2, 3, 1)[:, ::rows, ::columns]
    return functional.linear(cells, weight.flatten(1), shift).permute(0, 3, 1, 2)


class NormedBasicBlock(BasicBlock):  # type: ignore[misc]  # torchvision has no types
    """torchvision's block of two convolutions, whose norms may be folded into them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the input and its residual, rectified."""
        y = functional.relu(convolve(self.conv1, self.bn1, x))
        shortcut = x if self.downsample is None else convolve(self.downsample[0], self.downsample[1], x)
        return functional.relu(convolve(self.conv2, self.bn2, y) + shortcut)


class NormedBottleneck(Bottleneck):  # type: ignore[misc]  # torchvision has no types
    """torchvision's block of three convolutions, whose norms may be folded into them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the input and its residual, rectified."""
        y = functional.relu(convolve(self.conv1, self.bn1, x))
        y = functional.relu(convolve(self.conv2, self.bn2, y))
        shortcut = x if self.downsample is None else convolve(self.downsample[0], self.downsample[1], x)
        return functional.relu(convolve(self.conv3, self.bn3, y) + shortcut)


class ScaledResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet with its first stage `width` channels wide (64 is the published network)."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: list[int],
        width: int,
        norm_layer: Callable[..., nn.Module],
    ) -> None:
        """Build stem and layers 1 to 4; there is no classifier."""
        nn.Module.__init__(self)
        self._norm_layer = norm_layer
        self.inplanes, self.dilation, self.groups, self.base_width = width, 1, 1, 64
        self.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNetBackbone(nn.Module):
    """Images (N, 3, H, W) to features (N, D, ceil(H/16), ceil(W/16)); keys are torchvision's."""

    conv1: nn.Conv2d

    def __init__(self, network: ScaledResNet, freeze_at: int) -> None:
        """Take stem to layer3 and freeze the first `freeze_at` of (stem, layer1, layer2, layer3)."""
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        self.layer1, self.layer2, self.layer3 = network.layer1, network.layer2, network.layer3
        self.out_channels = network.inplanes // 2  # inplanes is what layer4 puts out
        stem = nn.ModuleList([self.conv1, self.bn1])
        self._frozen = list((stem, self.layer1, self.layer2, self.layer3)[:freeze_at])
        for part in self._frozen:
            part.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature map of layer3."""
        x = self.maxpool(self.relu(convolve(self.conv1, self.bn1, images)))
        return [self.layer3(self.layer2(self.layer1(x)))]

    def train(self, mode: bool = True) -> "ResNetBackbone":
        """Set the mode, except that frozen parts keep their running statistics."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self


class ResNetHead(nn.Module):
    """RoI features (R, D, 7, 7) to vectors (R, 2D) by layer4 and pooling; keys are torchvision's."""

    def __init__(self, network: ScaledResNet, pool: str) -> None:
        """Take layer4; `pool` is avg or max over its 4 x 4 map."""
        super().__init__()
        self.layer4 = network.layer4
        self.out_channels = network.inplanes
        self._pool = pool

    def forward(self, features: Tensor) -> Tensor:
        """Return one vector per RoI."""
        maps = self.layer4(features)
        return maps.mean(dim=(2, 3)) if self._pool == "avg" else maps.amax(dim=(2, 3))


def build_resnet(model: Model) -> tuple[ResNetBackbone, ResNetHead]:
    """Return backbone and head with random weights."""
    table = BACKBONES[model.backbone]
    block = NormedBottleneck if table.bottleneck else NormedBasicBlock
    norm = FrozenBatchNorm if model.norm == "frozen" else nn.BatchNorm2d
    network = ScaledResNet(block, list(table.blocks), model.width, norm)
    if model.stride_in_1x1:
        for module in network.modules():
            if isinstance(module, Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
    return ResNetBackbone(network, model.freeze_at), ResNetHead(network, model.head_pool)
