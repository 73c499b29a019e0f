"""Stage `render`: draw a handful of pictures with their objects and detections."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import options

if TYPE_CHECKING:
    import numpy as np

    from frcnn.data.voc.annotation import Annotation


def run(
    dataset: options.Dataset = options.DATASET,
    detections: options.Detections = options.DETECTIONS,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Pictures; replaced as a whole.")
    ] = options.RENDERS,
    split: options.Split = None,
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
    instances: options.Instances = None,
) -> None:
    """Read the dataset and the detections on its test split, write some pictures with objects and detections drawn."""
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.detections.detections import join_detections
    from frcnn.detections.hdf5 import read_with_annotations
    from frcnn.evaluation.matching import WRONG
    from frcnn.evaluation.split_matching import match_split
    from frcnn.evaluation.voc_ap import join_objects
    from frcnn.fonts import remark_on_letters
    from frcnn.params import load_params
    from frcnn.report.drawing import Mistakes, draw
    from frcnn.report.renders import OVERVIEW, random_order, write_renders
    from frcnn.unchanged import watch

    from .terminal.console import plural, say

    params = load_params(params_file, overrides or ())
    inputs = [dataset, detections, *([instances] if instances else [])]
    require_unchanged = watch("render", params_file, overrides or (), params, inputs)
    split = split or params.splits.test
    data = VocDataset(dataset)
    found, annotations = read_with_annotations(detections, data, split, params.data.box_convention, instances)
    index = {image_id: i for i, image_id in enumerate(found.image_ids)}
    in_order = [index[image_id] for image_id in data.split(split)]  # so that the order of the file does not count
    order = random_order(len(in_order), params.render.seed)
    chosen = [annotations[in_order[i]] for i in order[: params.render.images]]

    threshold, iou = params.render.score_threshold, params.evaluate.iou_threshold

    def render(picture: "np.ndarray", annotation: "Annotation") -> "np.ndarray":
        shown = found.of_image(index[annotation.image_id]).above(threshold)
        alone = join_detections([annotation.image_id], found.class_names, [shown])
        matching = match_split(join_objects([annotation]), alone, iou)
        mistakes = Mistakes(matching.verdict == WRONG, matching.missed)
        return draw(picture, shown, found.class_names, annotation, mistakes)

    legend = {
        "solid": f"detection, score at least {threshold:g}",
        "dotted": f"wrong: finds no object of its class at IoU > {iou:g}",
        "dashed": "object, named if missed",
    }
    write_renders(out, chosen, render, legend, require_unchanged)
    if remark := remark_on_letters(found.class_names):
        say(f"{out}: {remark}")
    total = plural(len(annotations), f"{split} picture")
    say(f"{out}: {len(chosen)} of {total}; {out / OVERVIEW} shows them together")
