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
    """RoIs (N, S, 4) in resized pixels, labels (N, S) int64 (-1 fills up), normalised deltas (N, S, 4) of positives."""

    rois: Tensor
    labels: Tensor
    deltas: Tensor


@torch.no_grad()
def sample_rois(
    proposals: Tensor,
    real: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    keys: Tensor,
    *,
    batch: int,
    positive_fraction: float,
    positive_iou: float,
    bg_lo: float,
) -> RoISample:
    """Label the proposals and choose up to `batch` of every image (Fast R-CNN, section 2.3).

    The objects themselves join the proposals. Positive is an IoU of at least `positive_iou` with some object,
    background one from `bg_lo` up to that. Up to `positive_fraction` of the batch are positive. No gradient flows,
    and the host waits for nothing.

    Args:
        proposals: (N, T, 4); real: (N, T) bool, False where the row fills up.
        gt_boxes: (N, G, 4); gt_labels: (N, G) int64, 0 where the row fills up.
        keys: (N, T + G) float in [0, 1), random: of the proposals and objects that qualify those of the highest keys
            are chosen.
    """
    candidates = torch.cat([proposals, gt_boxes], 1)
    labels, deltas = label_rois(candidates, gt_boxes, gt_labels, positive_iou, bg_lo)
    labels = labels.masked_fill(~torch.cat([real, gt_labels > 0], 1), -1)
    positive_keys = torch.where(labels > 0, keys, -1.0)
    place = positive_keys.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    chosen = (labels > 0) & (place < round(batch * positive_fraction))
    priority = torch.where(chosen, 1 + keys, torch.where(labels == 0, keys, -1.0))
    priority, index = priority.topk(min(batch, priority.shape[1]), 1)  # positives, then background
    labels = labels.gather(1, index).masked_fill(priority < 0, -1)
    rois, deltas = (rows.gather(1, index[..., None].expand(-1, -1, 4)) for rows in (candidates, deltas))
    fill = batch - index.shape[1]
    return RoISample(
        pad(rois, (0, 0, 0, fill)),
        pad(labels, (0, fill), value=-1),
        pad(deltas.masked_fill((labels <= 0)[..., None], 0), (0, 0, 0, fill)),
    )


def label_rois(
    rois: Tensor, gt_boxes: Tensor, gt_labels: Tensor, positive_iou: float, bg_lo: float
) -> tuple[Tensor, Tensor]:
    """Return labels (..., R) int64 (class, 0 background, -1 neither) and deltas (..., R, 4), normalised.

    Deltas lead to the object of the highest IoU. Without objects everything is background, whatever `bg_lo` is, and
    the deltas mean nothing.

    Args:
        rois: (..., R, 4); gt_boxes: (..., G, 4); gt_labels: (..., G) int64, 0 where the row fills up.
    """
    # One more empty row, so that there is a best one even if G is 0.
    gt_boxes, gt_labels = pad(gt_boxes, (0, 0, 0, 1)), pad(gt_labels, (0, 1))
    best, objects = boxes.iou(rois, gt_boxes).max(-1)
    labels = torch.where(best >= positive_iou, gt_labels.gather(-1, objects), 0)
    some = (gt_labels > 0).any(-1, keepdim=True)
    labels = torch.where((best < bg_lo) & some, -1, labels)
    own_boxes = gt_boxes.gather(-2, objects[..., None].expand(*objects.shape, 4))
    return labels, boxes.encode(own_boxes, rois) / rois.new_tensor(ROI_DELTA_STD)
