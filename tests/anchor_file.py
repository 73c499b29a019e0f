"""Write anchors.h5 as `frcnn anchors` does."""

from pathlib import Path

from frcnn.anchors.label import label_annotation
from frcnn.anchors.targets import join_images, provenance_of, write_targets
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Params


def write_anchors(params: Params, dataset: Path, path: Path) -> Path:
    data, split = VocDataset(dataset), params.splits.train
    annotations = data.annotations(split, params.data.box_convention)
    targets = join_images(annotations, [label_annotation(each, params) for each in annotations], data.class_names)
    write_targets(path, targets, provenance_of(params, data.class_names, data.split_sha256(split)))
    return path
