"""Region proposal network (Faster R-CNN, section 3.1): a score and four deltas for every anchor.

Shapes: N images, (H, W) cells of a padded feature map, K anchors per cell, A anchors of all feature maps in the order
of frcnn.anchors.grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frcnn import boxes
from frcnn.params import Model
from frcnn.params.training import Postprocessing, RPNTraining
from frcnn.pytorch.device import at_least_float32
from frcnn.pytorch.nms import nms


class RPNHead(nn.Module):
    """Feature maps (N, D, H, W) to objectness logits (N, A) and deltas (N, A, 4), float32 or finer."""

    def __init__(self, channels: int, anchors_per_cell: int, second_convolution: bool = False) -> None:
        """Build the 3x3 convolution, or two, and two 1x1 sisters; weights N(0, 0.01^2), biases 0."""
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1) if second_convolution else None
        self.objectness = nn.Conv2d(channels, anchors_per_cell, kernel_size=1)
        self.deltas = nn.Conv2d(channels, 4 * anchors_per_cell, kernel_size=1)
        for layer in filter(None, (self.conv, self.conv2, self.objectness, self.deltas)):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0)  # type: ignore[arg-type]  # there is one

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and deltas; channel k is anchor k, delta channel 4k + (0..3) its dx, dy, dw, dh."""
        of_maps = [self._of_map(features) for features in maps]
        logits, deltas = (torch.cat(each, 1) if len(maps) > 1 else each[0] for each in zip(*of_maps, strict=True))
        return at_least_float32(logits), at_least_float32(deltas)

    def _of_map(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu(self.conv(features))
        if self.conv2 is not None:
            hidden = F.relu(self.conv2(hidden))
        logits = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1)
        return logits, self.deltas(hidden).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4))


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
    starts: Sequence[int] = (0,),
) -> tuple[Tensor, Tensor]:
    """Turn the RPN's output into proposals (N, T, 4) float32 xyxy in resized pixels, best first.

    The best `pre_nms_topk` anchors of each feature map are decoded and clipped to the image, boxes with a side below
    `model.proposals.min_size` pixels or a score below `score_threshold` dropped, the rest reduced by NMS within each
    feature map to `post_nms_topk` in all. Proposals carry no gradient.

    Args:
        logits: (N, A).
        deltas: (N, A, 4).
        anchors: (A, 4) of the padded feature maps.
        sizes: (width, height) of each image in resized pixels, without padding.
        allowed: (N, A) bool, see `frcnn.anchors.grid.proposing_anchors`; the others become no proposals.
        settings: how many to keep.
        model: what counts as a proposal.
        starts: of each feature map, the index of its first anchor.

    Returns:
        Proposals, T = post_nms_topk, and which are real, (N, T) bool; padding is 0.
    """
    count = settings.post_nms_topk
    scores = logits.masked_fill(~allowed, -torch.inf)
    proposals = logits.new_zeros(len(sizes), count, 4)
    real = torch.zeros(len(sizes), count, dtype=torch.bool, device=logits.device)
    for image, (width, height) in enumerate(sizes):
        order, feature_map = _best_of_maps(scores[image], starts, settings.pre_nms_topk)
        candidates = boxes.clip(boxes.decode(deltas[image, order], anchors[order], model.delta_clamp), width, height)
        sides = candidates[:, 2:] - candidates[:, :2]
        big = (sides >= model.proposals.min_size).all(1) & (sides > 0).all(1) & scores[image, order].isfinite()
        if model.proposals.score_threshold:
            big &= scores[image, order].sigmoid() >= model.proposals.score_threshold
        candidates, best = candidates[big], scores[image, order][big]
        kept = candidates[_nms_within_maps(candidates, best, feature_map[big], len(starts), model, count)]
        proposals[image, : len(kept)], real[image, : len(kept)] = kept, True
    return proposals, real


def _nms_within_maps(
    candidates: Tensor, scores: Tensor, feature_map: Tensor, maps: int, model: Model, count: int
) -> Tensor:
    """Return the indices of the best `count` candidates, best first, that NMS leaves within each feature map."""
    threshold = model.proposals.nms_threshold
    if maps == 1:
        return nms(candidates, scores, threshold, count)
    kept = []
    for number in range(maps):
        own = torch.nonzero(feature_map == number)[:, 0]
        kept.append(own[nms(candidates[own], scores[own], threshold, count)])
    indices = torch.cat(kept)
    return indices[scores[indices].argsort(descending=True, stable=True)[:count]]


def _best_of_maps(scores: Tensor, starts: Sequence[int], count: int) -> tuple[Tensor, Tensor]:
    """Return the indices (T,) of the best `count` anchors of each feature map, best first, and their maps (T,)."""
    indices, maps = [], []
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(scores)], strict=True)):
        best = scores[start:end].argsort(descending=True, stable=True)[:count]
        indices.append(best + start)
        maps.append(torch.full_like(best, number))
    return torch.cat(indices), torch.cat(maps)
