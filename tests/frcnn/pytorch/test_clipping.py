"""Clipped gradients are no longer than they may be, and short ones keep their bits."""

import pytest
import torch

from frcnn.pytorch.clipping import clip_gradients


def clipped(how: str | None, gradients: list[torch.Tensor], at: float) -> list[torch.Tensor]:
    parameters = [torch.zeros_like(gradient, requires_grad=True) for gradient in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    clip_gradients(iter(parameters), how, at)
    return [parameter.grad for parameter in parameters]


def test_each_way_limits_what_it_names() -> None:
    gradients = [torch.tensor([[3.0, 4]]), torch.tensor([0.0, 12]), torch.zeros(3)]  # norms 5, 12, 0; together 13
    variable, together, value = (clipped(how, gradients, 6) for how in ("variable", "global_norm", "value"))
    torch.testing.assert_close(variable, [gradients[0], torch.tensor([0.0, 6]), gradients[2]])
    torch.testing.assert_close(together, [gradient * 6 / 13 for gradient in gradients])
    torch.testing.assert_close(value, [gradients[0], torch.tensor([0.0, 6]), gradients[2]])
    assert clipped("value", [torch.tensor([-7.0, 7])], 6)[0].tolist() == [-6, 6]
    assert clipped("variable", [torch.tensor([-3.0, 4])], 2.5)[0].tolist() == pytest.approx([-1.5, 2])


@pytest.mark.parametrize("how", ["variable", "global_norm", "value", None])
def test_short_gradients_keep_their_bits(how: str | None) -> None:
    gradients = [torch.randn(4, 5), torch.randn(5), torch.zeros(2)]
    assert all(map(torch.equal, clipped(how, gradients, 1e3), gradients))
