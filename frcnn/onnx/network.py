"""A detector as one function of uint8 pictures of any number and size, to be exported.

It computes what `frcnn.pytorch.faster_rcnn` does in evaluation, by operations of shapes that depend on the shapes of
its input alone: what is no proposal and no detection has a score of -inf until the end.

Shapes: N pictures, T proposals, C classes, D detections at most.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import roi_align

from frcnn import boxes
from frcnn.anchors.grid import anchor_shapes
from frcnn.backbones import STRIDE
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.detector.config import ROI_DELTA_STD
from frcnn.params import RoIPool
from frcnn.params.training import Postprocessing
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.roi_levels import assign_levels

NONE = -torch.inf
Sides = Any  # (height, width), numbers that may be symbols


class Operators(NamedTuple):
    """What each format has its own way for.

    nms_mask: see `frcnn.onnx.operators`; best: returns the k highest values along the last axis, best first, and their
    indices.
    """

    nms_mask: Callable[[Tensor, Tensor, float, int], Tensor]
    best: Callable[[Tensor, int], tuple[Tensor, Tensor]]


class Found(NamedTuple):
    """Boxes (N, D, 4) float32 xyxy in pixels of the input, scores (N, D), labels (N, D) int64, 1..C, best first.

    counts (N,) int64: how many of the D are detections; the rest is 0.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    counts: Tensor


class ExportedDetector(nn.Module):
    """The function; its weights are the detector's."""

    def __init__(self, model: FasterRCNN, settings: Postprocessing, operators: Operators) -> None:
        """Take a detector in evaluation mode."""
        super().__init__()
        self.model, self.settings, self.operators = model, settings, operators

    def forward(self, images: Tensor, scale: Tensor | None = None, limit: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return `Found` in resized pictures (N, H, W, 3) uint8 RGB, as a plain tuple, which an archive can hold.

        Args:
            scale, limit: (4,) float32, see `frcnn.onnx.resize_graph.Resize`; with these boxes are in original pixels.
        """
        divisor, (height, width) = self.model.config.data.size_divisor, images.shape[1:3]
        pixels = self.model.preprocess(images.permute(0, 3, 1, 2), [])
        if divisor > 1:
            pixels = functional.pad(pixels, (0, -width % divisor, 0, -height % divisor))
        maps = self.model.backbone(pixels)
        rois, real = self._propose(maps, pixels.shape[2:], (height, width))
        logits, deltas = self.model.predictor(self.model.head(self._pool(maps, rois, (height, width))))
        shape = (-1, rois.shape[1])
        found = self._select(rois, real, logits.unflatten(0, shape), deltas.unflatten(0, shape), (height, width))
        if scale is None or limit is None:
            return tuple(found)
        return tuple(found._replace(boxes=torch.minimum((found.boxes / scale).clamp(min=0), limit)))

    def _propose(self, maps: list[Tensor], padded: Sides, sides: Sides) -> tuple[Tensor, Tensor]:
        """Return proposals (N, T, 4) and which are real (N, T), see `frcnn.pytorch.rpn.generate_proposals`."""
        settings, model = self.settings, self.model.config.model
        scores, candidates = [], []
        for level, features in enumerate(maps):
            logits, deltas = self.model.rpn([features])
            anchors = self._anchors(level, features.shape[2:], padded)
            allowed = self._allowed(level, features.shape[2:], anchors, sides)
            padding = logits.new_full((1, settings.pre_nms_topk), NONE).expand(logits.shape[0], -1)
            best, order = self.operators.best(
                torch.cat([logits.masked_fill(~allowed, NONE), padding], 1), settings.pre_nms_topk
            )
            order = order.clamp(max=logits.shape[1] - 1)
            own = deltas.gather(1, order[..., None].expand(-1, -1, 4))
            decoded = _clip(boxes.decode(own, anchors[order], model.delta_clamp), sides)
            extent = decoded[..., 2:] - decoded[..., :2]
            big = (extent >= model.proposals.min_size).all(-1) & (extent > 0).all(-1)
            if model.proposals.score_threshold:
                big &= best.sigmoid() >= model.proposals.score_threshold
            best = best.masked_fill(~big, NONE)
            kept = self.operators.nms_mask(decoded, best, model.proposals.nms_threshold, settings.post_nms_topk)
            scores.append(best.masked_fill(~kept, NONE))
            candidates.append(decoded)
        count = min(settings.post_nms_topk, len(maps) * settings.pre_nms_topk)
        best, order = self.operators.best(torch.cat(scores, 1), count)
        real = best > NONE
        return torch.cat(candidates, 1).gather(1, order[..., None].expand(-1, -1, 4)) * real[..., None], real

    def _anchors(self, level: int, grid: Sides, padded: Sides) -> Tensor:
        """Return the anchors (A, 4) of a feature map, see `frcnn.anchors.grid.anchor_grid`."""
        anchors, stride = self.model.config.anchors, self.model.table.strides[level]
        strides = (stride, stride) if anchors.strides == "fixed" else (padded[0] // grid[0], padded[1] // grid[1])
        y, x = (
            ((torch.arange(cells, dtype=torch.float64) + anchors.anchor_offset) * step).float()
            for cells, step in zip(grid, strides, strict=True)
        )
        centers = torch.stack([x.expand(grid[0], -1), y[:, None].expand(-1, grid[1])], -1)[:, :, None]
        half = torch.from_numpy(np.float32(0.5) * anchor_shapes(anchors, level).astype(np.float32))
        return torch.cat([centers - half, centers + half], -1).reshape(-1, 4)

    def _allowed(self, level: int, grid: Sides, anchors: Tensor, sides: Sides) -> Tensor:
        """Return which anchors (A,) may become proposals, see `frcnn.anchors.grid.proposing_anchors`."""
        settings = self.model.config
        rows, columns = self._own_grid(level, grid, sides)
        inside = (torch.arange(grid[0])[:, None] < rows) & (torch.arange(grid[1]) < columns)
        allowed = inside[..., None].expand(-1, -1, settings.anchors.per_cell).reshape(-1)
        if settings.model.proposals.exclude_edge:
            allowed &= (_clip(anchors, sides) == anchors).all(-1)
        return allowed

    def _own_grid(self, level: int, grid: Sides, sides: Sides) -> Sides:
        """Return (rows, columns) of a feature map without padding."""
        if self.model.config.data.size_divisor == 1 or not self.model.config.model.proposals.mask_padding:
            return grid
        table = self.model.table
        up = 0 if table.grid == "floor" else table.strides[level] - 1
        return (sides[0] + up) // table.strides[level], (sides[1] + up) // table.strides[level]

    def _pool(self, maps: list[Tensor], rois: Tensor, sides: Sides) -> Tensor:
        """Return the features (N * T, D, size, size) of RoIs (N, T, 4)."""
        pool, table = self.model.config.model.roi_pool, self.model.table
        own = []
        for level, features in enumerate(maps[: table.roi_maps]):
            rows, columns = self._own_grid(level, features.shape[2:], sides)
            own.append(features[:, :, :rows, :columns])
        if table.roi_maps == 1:
            return pool_one(own[0], rois, pool)
        flat = with_images(rois)
        level_of = assign_levels(flat[:, 1:], table.strides[: table.roi_maps])
        pooled = flat.new_zeros(flat.shape[0], own[0].shape[1], pool.size, pool.size)
        for level, features in enumerate(own):
            places = torch.nonzero(level_of == level)[:, 0]
            scale = 1 / table.strides[level]
            part = roi_align(features, flat[places], pool.size, scale, pool.sampling_ratio, pool.aligned)
            pooled = pooled.index_put((places,), part)
        return pooled

    def _select(self, rois: Tensor, real: Tensor, logits: Tensor, deltas: Tensor, sides: Sides) -> Found:
        """Return the detections in pixels of what the network sees, see `frcnn.pytorch.postprocessing`."""
        settings, config = self.settings, self.model.config
        last = BOX_CONVENTIONS[config.data.box_convention].last
        std = deltas.new_tensor(ROI_DELTA_STD)
        candidates = boxes.decode(deltas * std, rois[:, :, None], config.model.delta_clamp)
        candidates = _clip(candidates, (sides[0] - last, sides[1] - last))
        scores = logits.softmax(-1)[..., 1:]
        solid = (candidates[..., 2:] > candidates[..., :2]).all(-1)
        counted = (scores > settings.score_threshold) & real[..., None]
        scores = scores.masked_fill(~(counted if settings.count_empty else counted & solid), NONE)
        slots, classes = scores.shape[1:]
        most = min(settings.max_detections or slots * classes, slots * classes)
        by_class = candidates.transpose(1, 2).flatten(0, 1), scores.transpose(1, 2).flatten(0, 1)
        kept = self.operators.nms_mask(*by_class, settings.nms_threshold, min(most, slots))
        kept = kept.unflatten(0, (-1, classes)).transpose(1, 2)
        best, order = self.operators.best(scores.masked_fill(~kept, NONE).flatten(1), most)
        if settings.count_empty:
            best = best.masked_fill(~solid.flatten(1).gather(1, order), NONE)
            best, again = self.operators.best(best, most)
            order = order.gather(1, again)
        found = best > NONE
        chosen = candidates.flatten(1, 2).gather(1, order[..., None].expand(-1, -1, 4))
        labels = (order % classes + 1) * found
        return Found(chosen * found[..., None], torch.where(found, best, 0.0), labels, found.sum(1))


def pool_one(features: Tensor, rois: Tensor, settings: RoIPool) -> Tensor:
    """Return the features (N * T, D, size, size) of RoIs (N, T, 4), see `frcnn.pytorch.roi_pool.pool_rois`."""
    if settings.op == "crop":
        samples = RoIPool(op="align", size=2 * settings.size, sampling_ratio=1, clip=True)
        return functional.max_pool2d(pool_one(features, rois, samples), 2)
    if settings.clip:
        last = 1 if settings.op == "pool" else 0
        rois = _clip(rois, tuple((cells - last) * STRIDE for cells in features.shape[2:]))
    flat = with_images(rois)
    if settings.op == "pool":
        return torchvision.ops.roi_pool(features, flat, settings.size, 1 / STRIDE)
    return roi_align(features, flat, settings.size, 1 / STRIDE, settings.sampling_ratio, settings.aligned)


def with_images(rois: Tensor) -> Tensor:
    """Return RoIs (N, T, 4) as (N * T, 5), each with the index of its picture before it."""
    images = torch.arange(rois.shape[0], dtype=rois.dtype)[:, None, None]
    return torch.cat([images.expand(-1, rois.shape[1], -1), rois], -1).flatten(0, 1)


def _clip(xyxy: Tensor, sides: Sides) -> Tensor:
    """Return boxes (..., 4) moved into [0, width] x [0, height]."""
    height, width = (torch.scalar_tensor(side, dtype=torch.float32) for side in sides)
    return torch.minimum(xyxy.clamp(min=0), torch.stack([width, height, width, height]))
