"""Stage `anchors`: label the anchors of the training split once, instead of at every step."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal.options import ANCHORS, DATASET, Dataset, Overrides, ParamsFile, Workers

if TYPE_CHECKING:
    import numpy as np

    from frcnn.anchors.label import LabeledImage
    from frcnn.data.voc.annotation import Annotation
    from frcnn.params import Params

SHEET, EPOCHS = "augmented.png", 4


def run(
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    dataset: Dataset = DATASET,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Anchor targets to write.")] = ANCHORS,
    render: Annotated[
        int,
        typer.Option(
            "--render", min=0, metavar="N", help="Also draw the targets of the first N images, and what training sees."
        ),
    ] = 0,
    renders: Annotated[Path, typer.Option("--renders", metavar="FOLDER", help="Folder of these pictures.")] = Path(
        "data/anchors"
    ),
    workers: Workers = None,
) -> None:
    """Read the training split of the dataset, write anchor labels and box deltas to anchors.h5."""
    from frcnn.advice.coverage import best_ious, resize_objects
    from frcnn.anchor_labeling import write_anchors
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.params import load_params
    from frcnn.unchanged import watch

    from .terminal.console import say, track

    params = load_params(params_file, overrides or ())
    require_unchanged = watch("anchors", params_file, overrides or (), params, [dataset])
    voc = VocDataset(dataset)
    annotations, labeled, targets = write_anchors(
        out,
        voc,
        params,
        os.cpu_count() or 1 if workers is None else workers,
        lambda items, total: track(items, "labeling anchors", total),
        require_unchanged,
    )
    for annotation, image in zip(annotations[:render], labeled, strict=False):
        _draw(annotation, image, params, renders)
    if render:
        _draw_augmented(annotations[:render], labeled, voc.class_names, params, renders / SHEET)
    positives, objects = len(targets.identity.positive_index), len(targets.gt_labels)
    ious = best_ious(resize_objects(annotations, params.data), params.model.backbone, params.anchors)
    say(
        f"{out}: {len(targets)} images of {params.splits.train}, {objects} objects, {positives} positive anchors; "
        f"{(ious < 0.5).sum()} objects have no anchor of IoU 0.5 or more"
    )


def _draw(annotation: "Annotation", image: "LabeledImage", params: "Params", folder: Path) -> None:
    """Write a picture with its objects (white dashes) and positive anchors (yellow)."""
    import numpy as np
    from PIL import Image

    from frcnn.anchors.grid import anchor_grid, feature_maps
    from frcnn.data.voc.pictures import read_picture
    from frcnn.report.drawing import draw_anchors

    anchors = anchor_grid(feature_maps(image.size, params.model.backbone, params.anchors), params.anchors)
    picture = Image.fromarray(read_picture(annotation.path)).resize(image.size)
    drawn = draw_anchors(np.asarray(picture), image.identity.gt_boxes, anchors[image.identity.positive_index])
    _save(folder / f"{annotation.image_id.replace('/', '_')}.png", drawn)


def _draw_augmented(
    annotations: "list[Annotation]", labeled: "list[LabeledImage]", names: list[str], params: "Params", path: Path
) -> None:
    """Write a sheet of pictures and objects as training sees them in the first epochs of phase 1."""
    from dataclasses import replace

    import numpy as np
    from PIL import Image

    from frcnn.data.augmentation import augment, draw_flip
    from frcnn.data.resizing.sizes import box_limit
    from frcnn.data.voc.pictures import read_picture
    from frcnn.report.drawing import contact_sheet, draw_objects

    pictures = []
    for index, (annotation, image) in enumerate(zip(annotations, labeled, strict=False)):
        resampling = Image.Resampling[params.data.interpolation.upper()]
        upright = np.asarray(Image.fromarray(read_picture(annotation.path)).resize(image.size, resampling))
        extent = box_limit((annotation.width, annotation.height), params.data)
        for key in [(1, epoch, index) for epoch in range(EPOCHS)]:
            mirrored = draw_flip(params.train, key)[0]
            picture, labels = (upright[:, ::-1], image.mirror) if mirrored else (upright, image.identity)
            picture, moved = augment(picture, labels.gt_boxes, extent, params, key)
            boxes, kept = moved or (labels.gt_boxes, np.arange(len(labels.gt_boxes)))
            shown = replace(annotation, boxes=boxes, labels=image.gt_labels[kept])
            pictures.append(draw_objects(picture, shown, names))
    _save(path, contact_sheet(pictures))


def _save(path: Path, picture: "np.ndarray") -> None:
    from PIL import Image

    from frcnn.files import atomic_path

    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="png")
