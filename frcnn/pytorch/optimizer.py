"""The optimizer of a phase (py-faster-rcnn's SGD, or Adam or AdamW for training from scratch)."""

import torch
from torch import nn

from frcnn.params.training import Optimizer


def build_optimizer(model: nn.Module, settings: Optimizer, fused: bool = True) -> torch.optim.Optimizer:
    """Return the optimizer of all trained tensors; its learning rates are set by `set_learning_rate`.

    Biases and norms (tensors of one dimension) have their own rate multiplier and weight decay.

    Args:
        fused: take torch's fused step, which is faster.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trained if parameter.ndim > 1],
            "weight_decay": settings.weight_decay,
            "lr_mult": 1.0,
        },
        {
            "params": [parameter for parameter in trained if parameter.ndim == 1],
            "weight_decay": settings.bias_weight_decay,
            "lr_mult": settings.bias_lr_mult,
        },
    ]
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, fused=fused)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    return kind(groups, lr=0.0, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group, times the group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_mult"]
