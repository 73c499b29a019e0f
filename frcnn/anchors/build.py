"""From annotations to anchor targets: label every image and its mirror image, join them for anchors.h5."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn import boxes
from frcnn.anchors.label import Labels, label_image
from frcnn.anchors.targets import AnchorTargets, offsets, pack_variant
from frcnn.data.resizing.sizes import box_scale, resized_size
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params


@dataclass(frozen=True)
class LabelledImage:
    """Size (width, height) in resized pixels, targets of the image and of its mirror image, object labels (G,)."""

    size: tuple[int, int]
    identity: Labels
    mirror: Labels
    gt_labels: np.ndarray


def label_annotation(annotation: Annotation, params: Params) -> LabelledImage:
    """Label the anchors of one picture and of its mirror image; difficult objects take part if `data` says so."""
    original = (annotation.width, annotation.height)
    size, scale = resized_size(original, params.data), box_scale(original, params.data)
    keep = ~annotation.difficult | params.data.train_difficult
    # Coordinates are pixel indices 0..W-1 in the reference's convention, else continuous 0..W.
    last_x = annotation.width - int(params.data.box_convention == "reference")

    def label(mirror: bool) -> Labels:
        original_boxes = boxes.flip(annotation.boxes[keep], last_x) if mirror else annotation.boxes[keep]
        gt_boxes = (original_boxes * scale).astype(np.float32)
        return label_image(gt_boxes, *size, params.model.backbone, params.anchors)

    return LabelledImage(size, label(mirror=False), label(mirror=True), annotation.labels[keep])


def join_images(
    annotations: Sequence[Annotation], labelled: Sequence[LabelledImage], class_names: list[str]
) -> AnchorTargets:
    """Join the labels of all images, in the order of the annotations."""
    return AnchorTargets(
        [annotation.image_id for annotation in annotations],
        class_names,
        np.array([(annotation.width, annotation.height) for annotation in annotations], np.int32),
        np.array([image.size for image in labelled], np.int32),
        offsets([len(image.gt_labels) for image in labelled]),
        np.concatenate([image.gt_labels for image in labelled]),
        pack_variant([image.identity for image in labelled]),
        pack_variant([image.mirror for image in labelled]),
    )
