"""A norm that is folded into its convolution computes what torchvision's two layers do, forward and backward."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from frcnn.params import Model
from frcnn.pytorch.backbones.resnet import FrozenBatchNorm, build_resnet, folded

NORMS = {"frozen": FrozenBatchNorm2d, "trained": nn.BatchNorm2d}


def randomize(network: nn.Module) -> None:
    """Give the norms different constants, such that the features neither grow nor vanish."""
    torch.manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.ndim == 1 and name.endswith("weight"):
            tensor.uniform_(0.2, 0.8)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)


class OnlyMap(nn.Module):
    """The feature map of a network that has one."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[0]


def pair(backbone: str, norm: str, own_norm: bool = False, **settings: bool) -> tuple[nn.Module, nn.Module]:
    """Return our network from stem to layer4, on maps of any size, and torchvision's with the same weights.

    own_norm: its frozen norms are ours, which leave half precision as it is.
    """
    stem_to_layer3, layer4 = build_resnet(Model(backbone=backbone, norm=norm, freeze_at=0, **settings))
    ours = nn.Sequential(stem_to_layer3, OnlyMap(), layer4)
    randomize(ours)
    theirs = get_model(backbone, weights=None, norm_layer=FrozenBatchNorm if own_norm else NORMS[norm])
    weights = {name.split(".", 1)[1]: tensor for name, tensor in ours.state_dict().items()}
    theirs.load_state_dict(weights | {name: theirs.state_dict()[name] for name in ("fc.weight", "fc.bias")})
    theirs.fc = nn.Identity()
    return ours, theirs


def output_and_gradients(network: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the output and the gradients of its weighted sum with respect to images and weights, by their names."""
    output = network(images)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    named = sorted((name.lstrip("012."), tensor) for name, tensor in network.named_parameters())
    inputs = [images, *(tensor for _, tensor in named)]
    return output.detach(), list(torch.autograd.grad((output * weights).sum(), inputs))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("size", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_a_folded_norm_equals_the_two_layers(size: int, stride: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(8, 16, size, stride, size // 2, bias=False), FrozenBatchNorm2d(16)
    randomize(norm)
    ours = FrozenBatchNorm(16)
    ours.load_state_dict(norm.state_dict())
    images = torch.randn(2, 8, 15, 12)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        for module in (convolution, norm, ours):
            module.to(dtype).to(memory_format=layout)
        x = images.to(dtype).contiguous(memory_format=layout).requires_grad_()
        found, expected = folded(convolution, ours, x), norm(convolution(x))
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
        weights = torch.randn_like(expected)
        inputs = [x, convolution.weight]
        gradients = (torch.autograd.grad((y * weights).sum(), inputs) for y in (found, expected))
        for gradient, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(gradient, wanted, atol=tolerance * float(wanted.abs().max()), rtol=tolerance)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_under_autocast_folded_norms_cost_no_precision(backbone: str, precision: torch.dtype) -> None:
    ours, theirs = pair(backbone, "frozen", own_norm=True)
    images = torch.randn(2, 3, 70, 51, requires_grad=True)
    with torch.autocast("cpu", dtype=precision):
        output, gradients = output_and_gradients(ours, images)
        unfolded, unfolded_gradients = output_and_gradients(theirs, images)
    exact, exact_gradients = output_and_gradients(theirs.double(), images.detach().double().requires_grad_())
    assert output.dtype == unfolded.dtype == precision
    assert distance(output, exact) <= 1.01 * distance(unfolded, exact)
    assert sum(map(distance, gradients, exact_gradients)) <= sum(map(distance, unfolded_gradients, exact_gradients))


def distance(found: Tensor, exact: Tensor) -> float:
    """Return how far a tensor is from its exact value, relative to that."""
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("norm", ["frozen", "trained"])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_float32_gives_the_bits_of_torchvision(backbone: str, norm: str) -> None:
    ours, theirs = pair(backbone, norm)
    images = torch.randn(2, 3, 70, 51, requires_grad=True)
    output, gradients = output_and_gradients(ours, images)
    expected, expected_gradients = output_and_gradients(theirs, images)
    for found, wanted in zip([output, *gradients], [expected, *expected_gradients], strict=True):
        assert torch.equal(found, wanted)


def test_the_stride_may_lie_in_the_first_convolution() -> None:
    ours, theirs = pair("resnet50", "frozen", stride_in_1x1=True)
    for block in (theirs.layer2[0], theirs.layer3[0], theirs.layer4[0]):  # type: ignore[index,union-attr]
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    images = torch.randn(2, 3, 70, 51)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)
