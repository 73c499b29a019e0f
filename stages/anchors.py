"""Stage `anchors`: label the anchors of the training split once, instead of at every step."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frcnn.params import Params, load_params
from stages.options import ANCHORS, DATASET, Dataset, Overrides, ParamsFile, Workers

if TYPE_CHECKING:
    from frcnn.anchors.label import Labels
    from frcnn.data.voc import Annotation

Labelled = tuple[tuple[int, int], "Labels", "Labels", list[int]]


def run(
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    dataset: Dataset = DATASET,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Anchor targets to write.")] = ANCHORS,
    render: Annotated[int, typer.Option("--render", min=0, metavar="N", help="Draw the first N images.")] = 0,
    renders: Annotated[Path, typer.Option("--renders", help="Folder of those pictures.")] = Path("data/anchors"),
    workers: Workers = None,
) -> None:
    """Read the training split of the dataset, write anchor labels and box deltas to anchors.h5."""
    import os

    from frcnn.anchors.targets import recipe_of, write_targets
    from frcnn.data.digest import annotations_sha256
    from frcnn.data.voc import read_annotations, read_classes
    from stages.console import say

    params = load_params(params_file, overrides or ())
    workers = os.cpu_count() or 1 if workers is None else workers
    split = params.splits.train
    class_names = read_classes(dataset)
    annotations = read_annotations(dataset, split, params.data.box_convention, max(workers, 1))
    labelled = _label_all(annotations, params, workers)
    targets = _pack(annotations, labelled, class_names)
    write_targets(out, targets, recipe_of(params, class_names, annotations_sha256(dataset, split)))
    if render:
        _render(annotations, labelled, params, renders, render)
    positives, objects = len(targets.identity.positive_index), len(targets.gt_labels)
    say(f"{out}: {len(targets)} images of {split}, {objects} objects, {positives} positive anchors")


def label_annotation(annotation: "Annotation", params: Params) -> Labelled:
    """Return the resized (width, height), the labels of the image, of its mirror image, and its object labels."""
    from frcnn.anchors.label import label_image, resize_boxes
    from frcnn.data.pictures import resized_size

    original = (annotation.width, annotation.height)
    size = resized_size(*original, params.data.min_size, params.data.max_size)
    keep = ~annotation.difficult | params.data.train_difficult
    index_convention = params.data.box_convention == "reference"
    both = [
        label_image(
            resize_boxes(annotation.boxes[keep], original, size, mirror, index_convention),
            *size,
            params.model.backbone,
            params.anchors,
        )
        for mirror in (False, True)
    ]
    return size, both[0], both[1], annotation.labels[keep].tolist()


def _label_all(annotations: "list[Annotation]", params: Params, workers: int) -> list[Labelled]:
    from frcnn.parallel import mapper
    from stages.console import track

    work = partial(label_annotation, params=params)
    with mapper(workers) as parallel:
        return list(track(parallel(work, annotations), "labelling anchors", len(annotations)))


def _pack(annotations: "list[Annotation]", labelled: list[Labelled], class_names: list[str]):  # type: ignore[no-untyped-def]
    import numpy as np

    from frcnn.anchors.targets import AnchorTargets, offsets, pack_variant

    return AnchorTargets(
        [annotation.image_id for annotation in annotations],
        class_names,
        np.array([(annotation.width, annotation.height) for annotation in annotations], np.int32),
        np.array([size for size, *_ in labelled], np.int32),
        offsets([len(labels) for *_, labels in labelled]),
        np.array([label for *_, labels in labelled for label in labels], np.int64),
        pack_variant([identity for _, identity, _, _ in labelled]),
        pack_variant([mirror for _, _, mirror, _ in labelled]),
    )


def _render(annotations: "list[Annotation]", labelled: list[Labelled], params: Params, folder: Path, n: int) -> None:
    from PIL import Image

    from frcnn.anchors.grid import anchor_grid, feature_grid
    from frcnn.data.pictures import read_picture, resize
    from frcnn.render import draw_anchors

    folder.mkdir(parents=True, exist_ok=True)
    sizes, ratios = tuple(params.anchors.anchor_sizes), tuple(params.anchors.anchor_ratios)
    for annotation, (size, labels, _, _) in zip(annotations[:n], labelled, strict=False):
        grid = feature_grid(*size, params.model.backbone)
        anchors = anchor_grid(*grid, sizes, ratios, params.anchors.anchor_offset)
        picture = resize(read_picture(annotation.path), *size, params.data.interpolation)
        drawn = draw_anchors(picture, labels.gt_boxes, anchors[labels.positive_index])
        Image.fromarray(drawn).save(folder / f"{annotation.image_id}.png")
