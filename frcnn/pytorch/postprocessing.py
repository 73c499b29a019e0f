"""From class scores and deltas to final detections (Fast R-CNN, section 2.4): decode, threshold, NMS per class."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from frcnn import boxes
from frcnn.detector.config import ROI_DELTA_STD
from frcnn.params.training import Postprocessing


@torch.no_grad()
def select_detections(
    rois: Tensor,
    class_logits: Tensor,
    deltas: Tensor,
    limit: tuple[int, int],
    settings: Postprocessing,
    delta_clamp: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return one image's detections, best first.

    Args:
        rois: (R, 4); class_logits: (R, C + 1); deltas: (R, C, 4), normalized.
        limit: largest x and y of a box, in resized pixels.

    Returns:
        Boxes (D, 4) in resized pixels, scores (D,), labels (D,) int64 in 1..C.
    """
    scores = class_logits.softmax(-1)[:, 1:]
    decoded = boxes.decode(deltas * deltas.new_tensor(ROI_DELTA_STD), rois[:, None], delta_clamp)
    decoded = boxes.clip(decoded, *limit)
    roi, column = torch.nonzero(scores > settings.score_threshold, as_tuple=True)
    candidates, best, labels = decoded[roi, column], scores[roi, column], column + 1
    solid = (candidates[:, 2:] > candidates[:, :2]).all(1)
    counted = torch.ones_like(solid) if settings.count_empty else solid
    candidates, best, labels, solid = candidates[counted], best[counted], labels[counted], solid[counted]
    keep = batched_nms(candidates, best, labels, settings.nms_threshold)[: settings.max_detections]
    keep = keep[solid[keep]]
    return candidates[keep], best[keep], labels[keep]
