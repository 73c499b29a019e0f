"""Stage `render`: draw a handful of pictures with their objects and detections."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal import options

if TYPE_CHECKING:
    import numpy as np

OVERVIEW = "overview.png"


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
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from frcnn.data.voc.dataset import VocDataset
    from frcnn.data.voc.pictures import read_picture
    from frcnn.detections.hdf5 import read_with_annotations
    from frcnn.files import atomic_folder
    from frcnn.fonts import remark_on_letters
    from frcnn.params import load_params
    from frcnn.report.drawing import contact_sheet, draw
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
    order = np.random.default_rng(params.render.seed).permutation(len(in_order))
    chosen = [in_order[i] for i in order[: params.render.images]]

    def render(index: int) -> "np.ndarray":
        annotation, shown = annotations[index], found.of_image(index).above(params.render.score_threshold)
        picture = draw(read_picture(annotation.path), shown, found.class_names, annotation)
        _save(scratch / "new" / f"{annotation.image_id.replace('/', '_')}.png", picture)
        return picture

    with atomic_folder(out, OVERVIEW) as scratch, ThreadPoolExecutor() as pool:
        _save(scratch / "new" / OVERVIEW, contact_sheet(list(pool.map(render, chosen))))
        require_unchanged()
    if remark := remark_on_letters(found.class_names):
        say(f"{out}: {remark}")
    total = plural(len(annotations), f"{split} picture")
    say(f"{out}: {len(chosen)} of {total}; {out / OVERVIEW} shows them together")


def _save(path: Path, picture: "np.ndarray") -> None:
    from PIL import Image

    Image.fromarray(picture).save(path)
