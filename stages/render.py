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
    from frcnn.detections.hdf5 import read_with_annotations
    from frcnn.fonts import remark_on_letters
    from frcnn.params import load_params
    from frcnn.report.drawing import draw
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

    def render(picture: "np.ndarray", annotation: "Annotation") -> "np.ndarray":
        shown = found.of_image(index[annotation.image_id]).above(params.render.score_threshold)
        return draw(picture, shown, found.class_names, annotation)

    write_renders(out, chosen, render, require_unchanged)
    if remark := remark_on_letters(found.class_names):
        say(f"{out}: {remark}")
    total = plural(len(annotations), f"{split} picture")
    say(f"{out}: {len(chosen)} of {total}; {out / OVERVIEW} shows them together")
