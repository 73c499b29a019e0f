"""Class and box of every RoI (Fast R-CNN): the two output layers and their losses.

Shapes: R RoIs, C classes without background, V channels of the head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcnn.pytorch.device import at_least_float32


class RoIPredictor(nn.Module):
    """Vectors (R, V) to class logits (R, C + 1), background first, and deltas (R, C, 4), float32 or finer."""

    def __init__(self, channels: int, classes: int) -> None:
        """Build both layers; weights N(0, 0.01^2) and N(0, 0.001^2), biases 0."""
        super().__init__()
        self.classes = nn.Linear(channels, classes + 1)
        self.deltas = nn.Linear(channels, 4 * classes)
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.classes.bias)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and deltas; class c (1..C) owns row c - 1 of the deltas, background none."""
        deltas = at_least_float32(self.deltas(vectors)).unflatten(1, (-1, 4))
        return at_least_float32(self.classes(vectors)), deltas


def roi_losses(
    class_logits: Tensor, deltas: Tensor, labels: Tensor, target_deltas: Tensor, sigma: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of classes and of boxes, each (N,), of the sampled RoIs of every image.

    Cross-entropy, and smooth L1 of the true class's deltas on the positives, summed and divided by the number sampled.

    Args:
        class_logits: (N, S, C + 1); deltas: (N, S, C, 4).
        labels: (N, S) int64, padding is -1; target_deltas: (N, S, 4), normalized.
    """
    count = (labels >= 0).sum(1).clamp(min=1)
    entropy = F.cross_entropy(class_logits.flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="none")
    own = (labels - 1).clamp(min=0)[..., None, None].expand(-1, -1, 1, 4)
    own_deltas = deltas.gather(2, own).squeeze(2)
    distance = F.smooth_l1_loss(own_deltas, target_deltas, reduction="none", beta=1 / sigma**2).sum(-1)
    return entropy.view_as(labels).sum(1) / count, torch.where(labels > 0, distance, 0.0).sum(1) / count
