"""Draw the minibatches of the two losses: anchors for the RPN (NumPy, while loading) and RoIs for the heads (torch)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from frcnn import boxes

# Spread of the RoI deltas, by which targets are divided (Fast R-CNN's code; Faster R-CNN keeps it).
ROI_DELTA_STD = (0.1, 0.1, 0.2, 0.2)


def sample_anchors(
    positive_count: int, negatives: np.ndarray, batch: int, positive_fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose up to `batch` anchors of an image, at most `positive_fraction` of them positive.

    Args:
        positive_count: number of positives to choose from.
        negatives: (M,) indices to choose from.

    Returns:
        Which positives, (P,) int64 in 0..positive_count-1, and which negatives, (Q,) values of `negatives`.
    """
    count = min(positive_count, round(batch * positive_fraction))
    chosen = rng.choice(positive_count, count, replace=False) if count else np.zeros(0, np.int64)
    rest = min(len(negatives), batch - count)
    return chosen, rng.choice(negatives, rest, replace=False) if rest else negatives[:0]


@dataclass(frozen=True)
class RoISample:
    """RoIs (N, S, 4) in resized pixels, labels (N, S) int64 (-1 fills up), deltas (N, S, 4), normalised."""

    rois: Tensor
    labels: Tensor
    deltas: Tensor


@torch.no_grad()
def sample_rois(
    proposals: list[Tensor],
    gt_boxes: Tensor,
    gt_labels: Tensor,
    *,
    batch: int,
    positive_fraction: float,
    positive_iou: float,
    bg_lo: float,
) -> RoISample:
    """Label the proposals and choose up to `batch` of every image (Fast R-CNN, section 2.3).

    The objects themselves join the proposals. Positive is an IoU of at least `positive_iou` with some object,
    background one from `bg_lo` up to that. Up to `positive_fraction` of the batch are positive. No gradient flows.

    Args:
        proposals: per image (P, 4).
        gt_boxes: (N, G, 4); gt_labels: (N, G) int64, 0 where the row fills up.
    """
    samples = []
    for rois, image_boxes, image_labels in zip(proposals, gt_boxes, gt_labels, strict=True):
        real_boxes, real_labels = image_boxes[image_labels > 0], image_labels[image_labels > 0]
        candidates = torch.cat([rois, real_boxes])
        labels, deltas = label_rois(candidates, real_boxes, real_labels, positive_iou, bg_lo)
        samples.append(_choose(candidates, labels, deltas, batch, positive_fraction))
    return RoISample(*(torch.stack(column) for column in zip(*samples, strict=True)))


def _choose(
    rois: Tensor, labels: Tensor, deltas: Tensor, batch: int, positive_fraction: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw up to `batch` of one image's RoIs and fill up with label -1."""
    key = torch.rand(len(rois), device=rois.device)
    positives = torch.where(labels > 0, key, -1).argsort(descending=True)[: int((labels > 0).sum())]
    negatives = torch.where(labels == 0, key, -1).argsort(descending=True)[: int((labels == 0).sum())]
    positives = positives[: round(batch * positive_fraction)]
    chosen = torch.cat([positives, negatives[: batch - len(positives)]])
    fill = batch - len(chosen)
    return (
        pad(rois[chosen], (0, 0, 0, fill)),
        pad(labels[chosen], (0, fill), value=-1),
        pad(deltas[chosen], (0, 0, 0, fill)),
    )


def label_rois(
    rois: Tensor, gt_boxes: Tensor, gt_labels: Tensor, positive_iou: float, bg_lo: float
) -> tuple[Tensor, Tensor]:
    """Return labels (R,) int64 (class, 0 background, -1 neither) and normalised deltas (R, 4) to the best object.

    Without objects everything is background, whatever `bg_lo` is.

    Args:
        rois: (R, 4); gt_boxes: (G, 4); gt_labels: (G,) int64; G may be 0.
    """
    if len(gt_boxes) == 0:
        return torch.zeros(len(rois), dtype=torch.int64, device=rois.device), torch.zeros_like(rois)
    best, objects = boxes.iou(rois, gt_boxes).max(dim=1)
    labels = torch.where(best >= positive_iou, gt_labels[objects], 0)
    labels = torch.where(best < bg_lo, -1, labels)
    deltas = boxes.encode(gt_boxes[objects], rois) / rois.new_tensor(ROI_DELTA_STD)
    return labels, deltas
