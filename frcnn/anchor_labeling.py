"""Label the anchors of the training split and write anchors.h5."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from frcnn.anchors.label import LabeledImage, label_annotation
from frcnn.anchors.targets import AnchorTargets, join_images, provenance_of, write_targets
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.errors import UserError
from frcnn.parallel import mapper
from frcnn.params import Params


def write_anchors(
    path: Path,
    voc: VocDataset,
    params: Params,
    workers: int = 0,
    show: Callable[[Iterable[Any], int], Iterable[Any]] = lambda items, total: items,
    before_end: Callable[[], None] = lambda: None,
) -> tuple[list[Annotation], list[LabeledImage], AnchorTargets]:
    """Write the anchor targets of the training split.

    Args:
        workers: processes.
        show: passes items on, of which it knows the number, and shows the progress.
        before_end: called before the file is written; may raise.

    Raises:
        UserError: the dataset is not as it should be, or shows no object; parameters of imported detectors.
    """
    if params.anchors.strides == "from_map":
        raise UserError("anchors.strides: from_map is for imported detectors; set fixed to train")
    split = params.splits.train
    annotations = voc.annotations(split, params.data.box_convention, workers)
    if not any(len(annotation.labels) for annotation in annotations):
        raise UserError(f"{voc.split_path(split)}: no picture of this split shows an object to learn")
    with mapper(workers) as parallel:
        labels = parallel(partial(label_annotation, params=params), annotations)
        labeled = list(show(labels, len(annotations)))
    targets = join_images(annotations, labeled, voc.class_names)
    provenance = provenance_of(params, voc.class_names, voc.split_sha256(split, annotations))
    before_end()
    write_targets(path, targets, provenance)
    return annotations, labeled, targets
