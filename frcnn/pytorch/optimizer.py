"""Optimizer and learning rate of a phase (py-faster-rcnn's SGD, or Adam or AdamW for training from scratch)."""

import torch
from torch import nn

from frcnn.params import Phase, Train


def build_optimizer(model: nn.Module, train: Train) -> torch.optim.Optimizer:
    """Return the optimizer of all trained tensors; its learning rates are set by `set_learning_rate`.

    Biases and norms (tensors of one dimension) have their own rate multiplier and weight decay.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trained if parameter.ndim > 1],
            "weight_decay": train.weight_decay,
            "lr_mult": 1.0,
        },
        {
            "params": [parameter for parameter in trained if parameter.ndim == 1],
            "weight_decay": train.bias_weight_decay,
            "lr_mult": train.bias_lr_mult,
        },
    ]
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=train.momentum, fused=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[train.optimizer]
    return kind(groups, lr=0.0, fused=True)


def learning_rate(step: int, phase: Phase, train: Train) -> float:
    """Return the rate of a step (from 0): constant after a linear rise over `warmup_steps`.

    With `base_batch_size` the phase's rate is for so many images a step of the optimizer and grows in proportion to
    their number (Goyal et al., 2017, section 2.1).
    """
    rate = phase.learning_rate
    if train.base_batch_size is not None:
        rate *= train.batch_size * train.grad_accum / train.base_batch_size
    if step >= phase.warmup_steps:
        return rate
    return rate * max(1e-3, step / phase.warmup_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group, times the group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_mult"]
