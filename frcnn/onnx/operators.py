"""Non-maximum suppression of many sets of boxes at once, of fixed shape, for networks that are exported."""

from typing import Any

import numpy as np
import torch
import torchvision
from onnxscript import opset18
from torch import Tensor
from torch.nn import functional

from frcnn.pytorch.nms import as_float32, nms

op: Any = opset18  # its types are those of eager tensors
LOWEST = float(np.finfo(np.float32).min)


@torch.library.custom_op("frcnn::nms_mask", mutates_args=())
def nms_mask(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    """Return which boxes stay, (B, K) bool, at most `most` of a set; in ONNX it is the operator NonMaxSuppression.

    Args:
        boxes: (B, K, 4) xyxy; scores: (B, K), -inf where there is no box.
        threshold: IoU above which the box of the lower score goes.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for own, own_boxes, own_scores in zip(kept, boxes, scores, strict=True):
        real = torch.nonzero(own_scores > LOWEST)[:, 0]
        own[real[nms(own_boxes[real], own_scores[real], threshold, most)]] = True
    return kept


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def onnx_nms_mask(boxes: Any, scores: Any, threshold: float, most: int) -> Any:
    """Translate `nms_mask` to ONNX."""
    one = op.Constant(value_ints=[1])
    chosen = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, one),
        op.Constant(value_ints=[most]),
        op.Constant(value_floats=[as_float32(threshold)]),
        op.Constant(value_floats=[LOWEST]),
    )
    places = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)  # set and box; all are of one class
    nothing = op.Expand(op.Constant(value_int=0), op.Shape(scores))
    ones = op.Expand(op.Constant(value_int=1), op.Shape(places, end=1))
    return op.Cast(op.ScatterND(nothing, places, ones), to=9)


def torchvision_nms_mask(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    """Do the work of `nms_mask` by torchvision's operator alone, with the sets apart from each other.

    Two boxes without area, which always stay, are added: torch.export takes for granted that `nonzero` finds two.
    """
    apart = torch.arange(scores.shape[0], device=scores.device)[:, None, None] * (boxes.amax().double() + 1)
    flat_boxes = functional.pad((boxes + apart).flatten(0, 1), (0, 0, 0, 2))
    flat_scores = functional.pad(scores.flatten(), (0, 2)).double()
    places = torch.nonzero(flat_scores > LOWEST)[:, 0]
    kept = places[torchvision.ops.nms(flat_boxes[places], flat_scores[places], threshold)]
    return torch.zeros_like(flat_scores, dtype=torch.bool).index_fill(0, kept, True)[:-2].view_as(scores)


def onnx_roi_pool(features: Any, rois: Any, scale: float, rows: int, columns: int) -> tuple[Any, Any]:
    """Translate torchvision's RoIPool to ONNX; its second result, which only a gradient needs, is not there."""
    pooled = op.MaxRoiPool(features, rois, pooled_shape=(rows, columns), spatial_scale=scale)
    return pooled, op.Identity(pooled)


def first_best(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the highest values along the last axis and their indices; of equal values the first, as TopK in ONNX."""
    ordered, order = torch.sort(values, dim=-1, descending=True, stable=True)
    return ordered[..., :count], order[..., :count]
