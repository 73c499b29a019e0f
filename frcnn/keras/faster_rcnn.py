"""Faster R-CNN (Ren et al., 2017) as a composition of backbone, RPN and RoI heads."""

from typing import NamedTuple

import keras
import tensorflow as tf

from frcnn.backbones import BACKBONES
from frcnn.data.voc.box_convention import BOX_CONVENTIONS
from frcnn.detector.config import LOSSES, DetectorConfig
from frcnn.errors import UserError
from frcnn.keras.backbones.resnet import build_resnet
from frcnn.keras.backbones.vgg import build_vgg
from frcnn.keras.inputs import ImageInputs, Inputs
from frcnn.keras.postprocessing import PaddedDetections, pad, select_detections
from frcnn.keras.roi_heads import RoIPredictor, roi_losses
from frcnn.keras.roi_pool import pool_rois
from frcnn.keras.rpn import RPNHead, generate_proposals, rpn_losses
from frcnn.keras.sampling import sample_rois
from frcnn.params import Model
from frcnn.params.training import Postprocessing, RPNTraining, Train


class _Features(NamedTuple):
    """Outputs of backbone and RPN: maps (N, H, W, D), logits (N, A), deltas (N, A, 4)."""

    maps: tf.Tensor
    logits: tf.Tensor
    deltas: tf.Tensor


class FasterRCNN(keras.Model):
    """The detector; build it from a `DetectorConfig`, load weights with `frcnn.keras.weights`."""

    def __init__(self, config: DetectorConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        model, classes = config.model, len(config.class_names)
        _require_supported(model)
        build = build_vgg if BACKBONES[model.backbone].family == "vgg" else build_resnet
        self.backbone: keras.layers.Layer
        self.head: keras.layers.Layer
        self.backbone, self.head = build(model)
        self.rpn = RPNHead(self.backbone.out_channels, config.anchors.per_cell)
        self.predictor = RoIPredictor(self.head.out_channels, classes)
        self.built = True

    def losses(
        self, inputs: Inputs, train: Train, seed: tf.Tensor | None = None, training: bool = True
    ) -> dict[str, tf.Tensor]:
        """Return the four losses, each (N,): one value per image.

        The RoI losses send no gradient into the RPN's boxes: proposals and their targets are constants. Keras's
        property of this name, of which `fit` makes use, is hidden.

        Args:
            seed: (2,) int32, of dropout; needed in training where `model.dropout` is above 0.
            training: let dropout and batch norms do what they do in training.
        """
        features = self._extract(inputs.pictures, training)
        loss_rpn_cls, loss_rpn_box = rpn_losses(
            features.logits,
            features.deltas,
            inputs.anchor_index,
            inputs.anchor_labels,
            inputs.anchor_deltas,
            train.rpn.sigma,
        )
        proposals, real = self._propose(features, inputs.pictures, train.rpn)
        sample = sample_rois(proposals, real, inputs.gt_boxes, inputs.gt_labels, inputs.roi_priorities, train.roi)
        class_logits, deltas = self._classify(
            features.maps, inputs.pictures.grids, sample.rois, sample.labels >= 0, training, seed
        )
        loss_roi_cls, loss_roi_box = roi_losses(class_logits, deltas, sample.labels, sample.deltas, train.roi.sigma)
        return dict(zip(LOSSES, (loss_rpn_cls, loss_rpn_box, loss_roi_cls, loss_roi_box), strict=True))

    def detect(self, inputs: ImageInputs, settings: Postprocessing) -> PaddedDetections:
        """Return the detections of every image, padded to the same number, boxes in resized pixels."""
        features = self._extract(inputs, training=False)
        proposals, real = self._propose(features, inputs, settings)
        class_logits, deltas = self._classify(features.maps, inputs.grids, proposals, real, training=False)
        limits = tf.cast(inputs.sizes, tf.float32) - float(BOX_CONVENTIONS[self.config.data.box_convention].last)
        most = settings.max_detections or settings.post_nms_topk * len(self.config.class_names)

        def of_image(image: tuple[tf.Tensor, ...]) -> PaddedDetections:
            *of_rois, own, limit = image
            rois, logits, own_deltas = (tf.boolean_mask(rows, own) for rows in of_rois)
            clamp = self.config.model.delta_clamp
            return pad(select_detections(rois, logits, own_deltas, limit, settings, clamp), most)

        signature = PaddedDetections(tf.TensorSpec((most, 4)), tf.TensorSpec((most,)), tf.TensorSpec((most,), tf.int64))
        return tf.map_fn(of_image, (proposals, class_logits, deltas, real, limits), fn_output_signature=signature)

    def _extract(self, inputs: ImageInputs, training: bool) -> _Features:
        maps = self.backbone(self._preprocess(inputs.images, inputs.sizes), training=training)
        return _Features(maps, *self.rpn(maps))

    def _preprocess(self, images: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
        """Return the backbone's input, zero in the padding."""
        how = self.config.preprocessing
        ordered = images[..., ::-1] if how.order == "BGR" else images
        pixels = (tf.cast(ordered, tf.float32) * how.scale - tf.constant(how.mean)) / tf.constant(how.std)
        columns, rows = tf.unstack(sizes[:, :, None], axis=1)
        _, height, width, _ = tf.unstack(tf.shape(images))
        of_image = (tf.range(height) < rows)[:, :, None] & (tf.range(width) < columns)[:, None]
        return tf.where(of_image[..., None], pixels, 0)

    def _propose(
        self, features: _Features, inputs: ImageInputs, settings: RPNTraining | Postprocessing
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return generate_proposals(
            features.logits, features.deltas, inputs.anchors, inputs.sizes, inputs.allowed, settings, self.config.model
        )

    def _classify(
        self,
        maps: tf.Tensor,
        grids: tf.Tensor,
        rois: tf.Tensor,
        real: tf.Tensor,
        training: bool,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return class logits (N, S, C + 1) and deltas (N, S, C, 4) of RoIs (N, S, 4).

        Padding (real, (N, S), is False) must not enter a batch norm and is not worth the time.
        """
        pooled = pool_rois(maps, grids, rois, self.config.model.roi_pool)
        vectors = self.head(tf.boolean_mask(pooled, real), training=training, seed=seed)
        class_logits, deltas = self.predictor(vectors)
        return _scatter(class_logits, real), _scatter(deltas, real)


def _require_supported(model: Model) -> None:
    """Refuse what only the network in torch can do.

    Raises:
        UserError: naming the parameter.
    """
    refused = {
        f"backbone: {model.backbone}": BACKBONES[model.backbone].family == "pyramid",
        "stride_in_1x1: true": model.stride_in_1x1,
        "proposals.mask_padding: false": not model.proposals.mask_padding,
        "proposals.score_threshold": model.proposals.score_threshold > 0,
        "roi_pool.sampling_ratio: 0": model.roi_pool.sampling_ratio == 0,
        "roi_pool.aligned: false": not model.roi_pool.aligned,
    }
    if what := next((name for name, present in refused.items() if present), None):
        raise UserError(f"framework: tensorflow has no model.{what}; use torch")


def _scatter(rows: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Return (N, S, ...) with rows (R, ...) where places (N, S) is True, in order, and 0 elsewhere."""
    shape = tf.concat([tf.shape(places), tf.shape(rows)[1:]], 0)
    return tf.scatter_nd(tf.where(places), rows, tf.cast(shape, tf.int64))
