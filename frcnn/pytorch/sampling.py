"""Sample the minibatch of RoIs for the heads (Fast R-CNN, section 2.3)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from frcnn import boxes
from frcnn.detector.config import ROI_DELTA_STD
from frcnn.params.training import RoITraining


@dataclass(frozen=True)
class RoISample:
    """RoIs (N, S, 4) in resized pixels, labels (N, S) int64 (padding: -1), normalized deltas (N, S, 4) of positives."""

    rois: Tensor
    labels: Tensor
    deltas: Tensor


@torch.no_grad()
def sample_rois(
    proposals: Tensor, real: Tensor, gt_boxes: Tensor, gt_labels: Tensor, priorities: Tensor, settings: RoITraining
) -> RoISample:
    """Label the proposals and choose up to `batch_size` of every image.

    The objects themselves join the proposals. Positive is an IoU of at least `positive_iou` with some object,
    background one from `background_min_iou` up to that. Up to `positive_fraction` of the batch are positive. No
    gradient flows, and the host waits for nothing.

    Args:
        proposals: (N, T, 4).
        real: (N, T) bool, False for padding.
        gt_boxes: (N, G, 4).
        gt_labels: (N, G) int64; padding is 0.
        priorities: (N, T + G) float in [0, 1), random: of the proposals and objects that qualify those of the highest
            priority are chosen.
        settings: sizes, shares and limits.
    """
    batch = settings.batch_size
    candidates = torch.cat([proposals, gt_boxes], 1)
    labels, deltas = label_rois(candidates, gt_boxes, gt_labels, settings.positive_iou, settings.background_min_iou)
    labels = labels.masked_fill(~torch.cat([real, gt_labels > 0], 1), -1)
    of_positives = torch.where(labels > 0, priorities, -1.0)
    # int32, since some versions of torch sort more than 256 of int64 wrongly on mps
    rank = of_positives.argsort(dim=1, descending=True, stable=True).int().argsort(dim=1)
    chosen = (labels > 0) & (rank < round(batch * settings.positive_fraction))
    priority = torch.where(chosen, 1 + priorities, torch.where(labels == 0, priorities, -1.0))
    priority, index = priority.topk(min(batch, priority.shape[1]), 1)  # positives, then background
    labels = labels.gather(1, index).masked_fill(priority < 0, -1)
    rois, deltas = (rows.gather(1, index[..., None].expand(-1, -1, 4)) for rows in (candidates, deltas))
    missing = batch - index.shape[1]
    return RoISample(
        pad(rois, (0, 0, 0, missing)),
        pad(labels, (0, missing), value=-1),
        pad(deltas.masked_fill((labels <= 0)[..., None], 0), (0, 0, 0, missing)),
    )


def label_rois(
    rois: Tensor, gt_boxes: Tensor, gt_labels: Tensor, positive_iou: float, background_min_iou: float
) -> tuple[Tensor, Tensor]:
    """Return labels (..., R) int64 (class, 0 background, -1 neither) and deltas (..., R, 4), normalized.

    Deltas lead to the object of the highest IoU. Without objects everything is background, whatever
    `background_min_iou` is, and the deltas mean nothing.

    Args:
        rois: (..., R, 4); gt_boxes: (..., G, 4); gt_labels: (..., G) int64, padding is 0.
    """
    # One more empty row, so that there is a best one even if G is 0.
    gt_boxes, gt_labels = pad(gt_boxes, (0, 0, 0, 1)), pad(gt_labels, (0, 1))
    best, objects = boxes.iou(rois, gt_boxes).max(-1)
    labels = torch.where(best >= positive_iou, gt_labels.gather(-1, objects), 0)
    some = (gt_labels > 0).any(-1, keepdim=True)
    labels = torch.where((best < background_min_iou) & some, -1, labels)
    own_boxes = gt_boxes.gather(-2, objects[..., None].expand(*objects.shape, 4))
    return labels, boxes.encode(own_boxes, rois) / rois.new_tensor(ROI_DELTA_STD)
