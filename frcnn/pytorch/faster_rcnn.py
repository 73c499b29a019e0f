"""Faster R-CNN (Ren et al., 2017) as a composition of backbone, RPN and RoI heads."""

import contextlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from frcnn.anchors.grid import FeatureMaps, anchor_grid, feature_maps
from frcnn.backbones import BACKBONES
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.detector.config import LOSSES, DetectorConfig
from frcnn.params import Anchors, Model
from frcnn.params.training import Postprocessing, RPNTraining, Train
from frcnn.pytorch.backbones.pyramid import build_pyramid
from frcnn.pytorch.backbones.resnet import build_resnet
from frcnn.pytorch.backbones.vgg import build_vgg
from frcnn.pytorch.device import layout
from frcnn.pytorch.inputs import ImageInputs, Inputs, Sizes
from frcnn.pytorch.postprocessing import select_detections
from frcnn.pytorch.roi_heads import RoIPredictor, roi_losses
from frcnn.pytorch.roi_levels import pool_levels
from frcnn.pytorch.roi_pool import pool_rois
from frcnn.pytorch.rpn import RPNHead, generate_proposals, rpn_losses
from frcnn.pytorch.sampling import sample_rois

BUILD: dict[str, Callable[[Model], tuple[Any, Any]]] = {
    "vgg": build_vgg,
    "resnet": build_resnet,
    "pyramid": build_pyramid,
}


class _Features(NamedTuple):
    """Outputs of backbone and RPN: maps, (N, D, H, W) each, logits (N, A), deltas (N, A, 4), anchors (A, 4).

    starts: of each map, the index of its first anchor.
    """

    maps: list[Tensor]
    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    starts: list[int]


class FasterRCNN(nn.Module):
    """The detector; build it from a `DetectorConfig`, load weights with `frcnn.pytorch.weights`."""

    def __init__(self, config: DetectorConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        model, classes = config.model, len(config.class_names)
        self.table = BACKBONES[model.backbone]
        self.backbone, self.head = BUILD[self.table.family](model)
        second = self.table.convolutional_heads
        self.rpn = RPNHead(self.backbone.out_channels, config.anchors.per_cell, second_convolution=second)
        self.predictor = RoIPredictor(self.head.out_channels, classes)

    def forward(self, inputs: Inputs, train: Train, precision: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Return the four losses, each (N,): one value per image.

        The RoI losses send no gradient into the RPN's boxes: proposals and their targets are constants.
        """
        pictures = inputs.pictures
        with self._autocast(precision):
            features = self._extract(pictures)
        with record_function("losses"):
            loss_rpn_cls, loss_rpn_box = rpn_losses(
                features.logits,
                features.deltas,
                inputs.anchor_index,
                inputs.anchor_labels,
                inputs.anchor_deltas,
                train.rpn.sigma,
            )
        proposals, real = self._propose(features, pictures, train.rpn)
        with record_function("sampling"):
            sample = sample_rois(proposals, real, inputs.gt_boxes, inputs.gt_labels, inputs.roi_priorities, train.roi)
        with self._autocast(precision):
            class_logits, deltas = self._classify(features.maps, pictures, sample.rois, sample.labels >= 0)
        with record_function("losses"):
            loss_roi_cls, loss_roi_box = roi_losses(class_logits, deltas, sample.labels, sample.deltas, train.roi.sigma)
        return dict(zip(LOSSES, (loss_rpn_cls, loss_rpn_box, loss_roi_cls, loss_roi_box), strict=True))

    @torch.no_grad()
    def detect(
        self, pictures: ImageInputs, settings: Postprocessing, precision: torch.dtype = torch.float32
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return per image boxes (D, 4) in resized pixels, scores (D,) and labels (D,), best first."""
        with self._autocast(precision):
            features = self._extract(pictures)
        proposals, real = self._propose(features, pictures, settings)
        with self._autocast(precision):
            class_logits, deltas = self._classify(features.maps, pictures, proposals, real)
        convention, clamp = BOX_CONVENTIONS[self.config.data.box_convention], self.config.model.delta_clamp
        with record_function("postprocessing"):
            return [
                select_detections(rois[own], logits[own], own_deltas[own], convention.limit(size), settings, clamp)
                for rois, logits, own_deltas, own, size in zip(
                    proposals, class_logits, deltas, real, pictures.sizes, strict=True
                )
            ]

    def _extract(self, pictures: ImageInputs) -> _Features:
        height, width = pictures.images.shape[-2:]
        anchors = self.config.anchors
        planned = feature_maps((width, height), self.config.model.backbone, anchors)
        with record_function("backbone"):
            maps = self.backbone(self.preprocess(pictures.images, pictures.sizes))
        if (grids := tuple(tuple(each.shape[-2:]) for each in maps)) != planned.grids:
            raise AssertionError(f"feature maps are {grids}, not {planned.grids}")
        with record_function("rpn"):
            logits, deltas = self.rpn(maps)
        boxes = _anchors(planned, anchors, pictures.images.device)
        return _Features(maps, logits, deltas, boxes, planned.starts(anchors.per_cell).tolist())

    def preprocess(self, images: Tensor, sizes: Sizes) -> Tensor:
        """Return the backbone's input, zero in the padding."""
        how = self.config.preprocessing
        ordered = images.flip(1) if how.order == "BGR" else images
        mean, std = (ordered.new_tensor(v, dtype=self.rpn.conv.weight.dtype).view(3, 1, 1) for v in (how.mean, how.std))
        pixels = (ordered.to(mean.dtype) * how.scale - mean) / std
        for image, (width, height) in enumerate(sizes):
            pixels[image, :, height:] = 0
            pixels[image, :, :, width:] = 0
        return pixels.contiguous(memory_format=layout(pixels.device))

    def _propose(
        self, features: _Features, pictures: ImageInputs, settings: RPNTraining | Postprocessing
    ) -> tuple[Tensor, Tensor]:
        with record_function("proposals"):
            return generate_proposals(
                features.logits,
                features.deltas,
                features.anchors,
                pictures.sizes,
                pictures.allowed,
                settings,
                self.config.model,
                features.starts,
            )

    def _classify(self, maps: list[Tensor], pictures: ImageInputs, rois: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (N, S, C + 1) and deltas (N, S, C, 4) of RoIs (N, S, 4).

        Padding (real, (N, S), is False) must not enter a batch norm and is not worth a CPU's time; on a GPU, where
        leaving it out would make the host wait, it is computed like the rest.
        """
        settings, whole = self.config.model.roi_pool, False
        with record_function("roi_pooling"):
            if self.table.roi_maps > 1:
                levels = slice(self.table.roi_maps)
                pooled = pool_levels(maps[levels], pictures.grids, self.table.strides[levels], rois, real, settings)
            else:
                pooled = pool_rois(maps[0], [grids[0] for grids in pictures.grids], rois, settings)
                whole = self.config.model.norm == "frozen" if pooled.device.type != "cpu" else bool(real.all())
                pooled = pooled.flatten(0, 1) if whole else pooled[real]
        with record_function("head"):
            class_logits, deltas = self.predictor(self.head(pooled))
            if whole:
                return class_logits.unflatten(0, real.shape), deltas.unflatten(0, real.shape)
            return _scatter(class_logits, real), _scatter(deltas, real)

    def _autocast(self, precision: torch.dtype) -> contextlib.AbstractContextManager:
        if precision == torch.float32:
            return contextlib.nullcontext()
        device = next(self.parameters()).device.type
        return torch.autocast(device, dtype=precision)


@lru_cache(maxsize=64)
def _anchors(maps: FeatureMaps, anchors: Anchors, device: torch.device) -> Tensor:
    """Return the anchors (A, 4) of feature maps on a device; kept, since most images have few sizes."""
    return torch.from_numpy(anchor_grid(maps, anchors).copy()).to(device)


def _scatter(rows: Tensor, places: Tensor) -> Tensor:
    """Return (N, S, ...) with rows (R, ...) where places (N, S) is True, in order, and 0 elsewhere."""
    scattered = rows.new_zeros(*places.shape, *rows.shape[1:])
    scattered[places] = rows
    return scattered
