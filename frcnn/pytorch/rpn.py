"""Region proposal network (Faster R-CNN, section 3.1): a score and four deltas for every anchor.

Shapes: N images, (H, W) cells of the padded feature map, K anchors per cell, A = H * W * K anchors in the order of
frcnn.anchors.grid.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcnn import boxes
from frcnn.params import Model, Postprocessing, RPNTraining
from frcnn.pytorch.device import at_least_float32
from frcnn.pytorch.nms import nms


class RPNHead(nn.Module):
    """Features (N, D, H, W) to objectness logits (N, A) and deltas (N, A, 4), float32 or finer."""

    def __init__(self, channels: int, anchors_per_cell: int) -> None:
        """Build the 3x3 convolution and its two 1x1 sisters; weights N(0, 0.01^2), biases 0."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.objectness = nn.Conv2d(channels, anchors_per_cell, kernel_size=1)
        self.deltas = nn.Conv2d(channels, 4 * anchors_per_cell, kernel_size=1)
        for layer in (self.conv, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0)  # type: ignore[arg-type]  # there is one

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and deltas; channel k is anchor k, delta channel 4k + (0..3) its dx, dy, dw, dh."""
        hidden = F.relu(self.conv(features))
        logits = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1)
        deltas = self.deltas(hidden).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))
        return at_least_float32(logits), at_least_float32(deltas)


def rpn_losses(
    logits: Tensor, deltas: Tensor, index: Tensor, labels: Tensor, target_deltas: Tensor, sigma: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of objectness and of boxes, each (N,), of the sampled anchors of every image.

    Binary cross-entropy and smooth L1 on the positives, both summed and divided by the number sampled.

    Args:
        logits: (N, A); deltas: (N, A, 4).
        index: (N, S) int64, the sampled anchors; labels: (N, S) in {1, 0, -1}, padding is -1.
        target_deltas: (N, S, 4), used where labels are 1.
        sigma: smooth L1 is quadratic below 1 / sigma^2.
    """
    sampled_logits = logits.gather(1, index)
    sampled_deltas = deltas.gather(1, index[..., None].expand(-1, -1, 4))
    count = (labels >= 0).sum(1).clamp(min=1)
    entropy = F.binary_cross_entropy_with_logits(sampled_logits, (labels == 1).to(logits.dtype), reduction="none")
    distance = F.smooth_l1_loss(sampled_deltas, target_deltas, reduction="none", beta=1 / sigma**2).sum(-1)
    loss_cls = torch.where(labels >= 0, entropy, 0.0).sum(1) / count
    loss_box = torch.where(labels == 1, distance, 0.0).sum(1) / count
    return loss_cls, loss_box


@torch.no_grad()
def generate_proposals(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    sizes: list[tuple[int, int]],
    allowed: Tensor,
    settings: RPNTraining | Postprocessing,
    model: Model,
) -> tuple[Tensor, Tensor]:
    """Turn the RPN's output into proposals (N, T, 4) float32 xyxy in resized pixels, best first.

    The best `pre_nms_topk` anchors are decoded and clipped to the image, boxes with a side below
    `model.proposals.min_size` pixels dropped, the rest reduced by NMS to `post_nms_topk`. Proposals carry no gradient.

    Args:
        logits: (N, A).
        deltas: (N, A, 4).
        anchors: (A, 4) of the padded feature map.
        sizes: (width, height) of each image in resized pixels, without padding.
        allowed: (N, A) bool, see `frcnn.anchors.grid.proposing_anchors`; the others become no proposals.
        settings: how many to keep.
        model: what counts as a proposal.

    Returns:
        Proposals, T = post_nms_topk, and which are real, (N, T) bool; padding is 0.
    """
    count = settings.post_nms_topk
    scores = logits.masked_fill(~allowed, -torch.inf)
    proposals = logits.new_zeros(len(sizes), count, 4)
    real = torch.zeros(len(sizes), count, dtype=torch.bool, device=logits.device)
    for image, (width, height) in enumerate(sizes):
        order = scores[image].argsort(descending=True, stable=True)[: settings.pre_nms_topk]
        candidates = boxes.clip(boxes.decode(deltas[image, order], anchors[order], model.delta_clamp), width, height)
        sides = candidates[:, 2:] - candidates[:, :2]
        big = (sides >= model.proposals.min_size).all(1) & (sides > 0).all(1) & scores[image, order].isfinite()
        candidates, best = candidates[big], scores[image, order][big]
        kept = candidates[nms(candidates, best, model.proposals.nms_threshold, count)]
        proposals[image, : len(kept)], real[image, : len(kept)] = kept, True
    return proposals, real
