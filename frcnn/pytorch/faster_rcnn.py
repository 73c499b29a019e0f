"""Faster R-CNN (Ren et al., 2017) as a composition of backbone, RPN and RoI heads."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from frcnn.anchors.grid import STRIDE, anchor_grid, feature_grid
from frcnn.detector.config import DetectorConfig
from frcnn.params import Detect, Train
from frcnn.pytorch.backbones.resnet import build_resnet
from frcnn.pytorch.backbones.vgg import build_vgg
from frcnn.pytorch.postprocessing import select_detections
from frcnn.pytorch.roi_heads import RoIPredictor, roi_losses
from frcnn.pytorch.roi_pool import pool_rois
from frcnn.pytorch.rpn import RPNHead, generate_proposals, proposing_anchors, rpn_losses
from frcnn.pytorch.sampling import sample_rois

LOSSES = ("loss_rpn_cls", "loss_rpn_box", "loss_roi_cls", "loss_roi_box")
Sizes = list[tuple[int, int]]


@dataclass(frozen=True)
class Batch:
    """What a training step needs; N images padded at the right and bottom to a common size.

    images (N, 3, H, W) uint8 RGB; sizes: (width, height) of each without padding; gt_boxes (N, G, 4) float32 in
    resized pixels and gt_labels (N, G) int64, 0 where the row fills up; anchor_index (N, S) int64 into the padded
    grid, anchor_labels (N, S) int64 in {1, 0, -1}, -1 fills up; anchor_deltas (N, S, 4) float32; roi_keys
    (N, T + G) float32, random in [0, 1), by which RoIs are chosen from T proposals and the objects; image_ids for
    messages.
    """

    images: Tensor
    sizes: Sizes
    gt_boxes: Tensor
    gt_labels: Tensor
    anchor_index: Tensor
    anchor_labels: Tensor
    anchor_deltas: Tensor
    roi_keys: Tensor
    image_ids: list[str]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory (the data loader calls this)."""
        return self._map(Tensor.pin_memory)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        changed = {name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **changed)  # type: ignore[arg-type]  # tensors for tensors


@dataclass(frozen=True)
class _Features:
    """Outputs of backbone and RPN: maps (N, D, H, W), logits and inside (N, A), deltas (N, A, 4), anchors (A, 4)."""

    maps: Tensor
    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    inside: Tensor
    grids: list[tuple[int, int]]


class FasterRCNN(nn.Module):
    """The detector; build it from a `DetectorConfig`, load weights with `frcnn.pytorch.weights`."""

    def __init__(self, config: DetectorConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        model, classes = config.model, len(config.class_names)
        self.backbone: nn.Module
        self.head: nn.Module
        if model.backbone.startswith("vgg"):
            self.backbone, self.head = build_vgg(model.freeze_at, model.dropout)
        else:
            self.backbone, self.head = build_resnet(
                model.backbone, model.width, model.norm, model.freeze_at, model.head_pool
            )
        anchors_per_cell = len(config.anchors.anchor_sizes) * len(config.anchors.anchor_ratios)
        self.rpn = RPNHead(self.backbone.out_channels, anchors_per_cell)
        self.predictor = RoIPredictor(self.head.out_channels, classes)

    def losses(self, batch: Batch, train: Train, precision: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the four losses, each (N,): one value an image.

        The RoI losses send no gradient into the RPN's boxes: proposals and their targets are constants.
        """
        with self._autocast(precision):
            found = self._extract(batch.images, batch.sizes)
        loss_rpn_cls, loss_rpn_box = rpn_losses(
            found.logits, found.deltas, batch.anchor_index, batch.anchor_labels, batch.anchor_deltas, train.rpn_sigma
        )
        proposals, real = self._propose(found, batch.sizes, train.pre_nms_topk, train.post_nms_topk)
        sample = sample_rois(
            proposals,
            real,
            batch.gt_boxes,
            batch.gt_labels,
            batch.roi_keys,
            batch=train.roi_batch,
            positive_fraction=train.roi_pos_fraction,
            positive_iou=train.roi_positive_iou,
            bg_lo=train.roi_bg_lo,
        )
        with self._autocast(precision):
            class_logits, deltas = self._classify(found, sample.rois, sample.labels >= 0)
        loss_roi_cls, loss_roi_box = roi_losses(class_logits, deltas, sample.labels, sample.deltas, train.roi_sigma)
        return dict(zip(LOSSES, (loss_rpn_cls, loss_rpn_box, loss_roi_cls, loss_roi_box), strict=True))

    @torch.no_grad()
    def detect(
        self, images: Tensor, sizes: Sizes, settings: Detect, precision: torch.dtype = torch.float32
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return per image boxes (D, 4) in resized pixels, scores (D,) and labels (D,), best first.

        Args:
            images: (N, 3, H, W) uint8 RGB, padded at the right and bottom.
            sizes: (width, height) of each without padding.
        """
        with self._autocast(precision):
            found = self._extract(images, sizes)
        proposals, real = self._propose(found, sizes, settings.pre_nms_topk, settings.post_nms_topk)
        with self._autocast(precision):
            class_logits, deltas = self._classify(found, proposals, real)
        delta_clamp = self.config.model.delta_clamp
        last = int(self.config.data.box_convention == "reference")  # its coordinates are indices of pixels
        return [
            select_detections(
                rois[own], logits[own], own_deltas[own], (width - last, height - last), settings, delta_clamp
            )
            for rois, logits, own_deltas, own, (width, height) in zip(
                proposals, class_logits, deltas, real, sizes, strict=True
            )
        ]

    def _extract(self, images: Tensor, sizes: Sizes) -> _Features:
        config = self.config
        maps = self.backbone(self._preprocess(images, sizes))
        height, width = images.shape[-2:]
        rows, columns = feature_grid(width, height, config.model.backbone)
        if maps.shape[-2:] != (rows, columns):
            raise AssertionError(f"feature map {tuple(maps.shape)} is not {rows} x {columns}")
        logits, deltas = self.rpn(maps)
        sizes_, ratios = tuple(config.anchors.anchor_sizes), tuple(config.anchors.anchor_ratios)
        anchors = torch.from_numpy(anchor_grid(rows, columns, sizes_, ratios, config.anchors.anchor_offset).copy())
        grids = [feature_grid(*size, config.model.backbone) for size in sizes]
        inside = proposing_anchors(anchors, (rows, columns), grids, sizes, config.model.exclude_edge_proposals)
        device = images.device
        return _Features(maps, logits, deltas, anchors.to(device), inside.to(device), grids)

    def _preprocess(self, images: Tensor, sizes: Sizes) -> Tensor:
        """Return the backbone's input, zero in the padding."""
        how = self.config.preprocessing
        ordered = images.flip(1) if how.order == "BGR" else images
        mean, std = (ordered.new_tensor(v, dtype=self.rpn.conv.weight.dtype).view(3, 1, 1) for v in (how.mean, how.std))
        pixels = (ordered.to(mean.dtype) * how.scale - mean) / std
        for image, (width, height) in enumerate(sizes):
            pixels[image, :, height:] = 0
            pixels[image, :, :, width:] = 0
        return pixels.contiguous(memory_format=torch.channels_last)

    def _propose(self, found: _Features, sizes: Sizes, pre_nms_topk: int, post_nms_topk: int) -> tuple[Tensor, Tensor]:
        model = self.config.model
        return generate_proposals(
            found.logits,
            found.deltas,
            found.anchors,
            sizes,
            found.inside,
            pre_nms_topk=pre_nms_topk,
            post_nms_topk=post_nms_topk,
            nms_threshold=model.rpn_nms_threshold,
            min_size=model.proposal_min_size,
            delta_clamp=model.delta_clamp,
        )

    def _classify(self, found: _Features, rois: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (N, S, C + 1) and deltas (N, S, C, 4) of RoIs (N, S, 4).

        What fills up (real, (N, S), is False) must not enter a batch norm and is not worth a CPU's time; on CUDA,
        where leaving it out would make the host wait, it is computed like the rest.
        """
        model = self.config.model
        pooled = pool_rois(
            found.maps,
            found.grids,
            rois,
            op=model.roi_op,
            size=model.roi_size,
            sampling_ratio=model.roi_sampling_ratio,
            clip=model.roi_clip,
            stride=STRIDE,
        )
        if pooled.is_cuda and model.norm == "frozen":
            class_logits, deltas = self.predictor(self.head(pooled.flatten(0, 1)))
            return class_logits.unflatten(0, real.shape), deltas.unflatten(0, real.shape)
        class_logits, deltas = self.predictor(self.head(pooled[real]))
        return _spread(class_logits, real), _spread(deltas, real)

    def _autocast(self, precision: torch.dtype) -> contextlib.AbstractContextManager:
        if precision == torch.float32:
            return contextlib.nullcontext()
        device = next(self.parameters()).device.type
        return torch.autocast(device, dtype=precision)


def _spread(rows: Tensor, places: Tensor) -> Tensor:
    """Return (N, S, ...) with rows (R, ...) where places (N, S) is True, in order, and 0 elsewhere."""
    spread = rows.new_zeros(*places.shape, *rows.shape[1:])
    spread[places] = rows
    return spread
