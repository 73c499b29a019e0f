"""Stage `render`: draw a handful of pictures with what was found in them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frcnn.errors import UserError
from frcnn.params import load_params

from .terminal import options

if TYPE_CHECKING:
    import numpy as np

    from frcnn.data.voc.dataset import Annotation
    from frcnn.detections.hdf5 import Detections

OVERVIEW = "overview.png"


def run(
    dataset: options.Dataset = options.DATASET,
    detections: options.Detections = options.DETECTIONS,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Pictures; replaced whole.")] = options.RENDERS,
    split: Annotated[str | None, typer.Option("--split", help="Split; default: splits.test.")] = None,
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
) -> None:
    """Read the dataset and the detections on its test split, write some of its pictures with both drawn in."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from frcnn.detections.hdf5 import read_with_annotations
    from frcnn.files import atomic_path
    from frcnn.report.drawing import contact_sheet

    from .terminal.console import say

    params = load_params(params_file, overrides or ())
    split = split or params.splits.test
    found, annotations = read_with_annotations(detections, dataset, split, params.data.box_convention)
    order = np.random.default_rng(params.render.seed).permutation(len(annotations))
    chosen = [annotations[i] for i in order[: params.render.images]]
    if out.exists() and not (out / OVERVIEW).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{out}: exists and holds no {OVERVIEW} of an earlier run; it would be replaced: choose another"
        )
    with atomic_path(out) as folder, ThreadPoolExecutor() as pool:
        folder.mkdir()
        pictures = pool.map(lambda each: _draw(each, found, params.render.score_threshold), chosen)
        names = [each.image_id.replace("/", "_") + ".png" for each in chosen]
        small = list(pool.map(lambda name, picture: _save(folder / name, picture), names, pictures))
        _save(folder / OVERVIEW, contact_sheet(small))
    say(f"{out}: {len(chosen)} of {len(annotations)} pictures of {split}, and all of them in {out / OVERVIEW}")


def _draw(annotation: "Annotation", found: "Detections", score_threshold: float) -> "np.ndarray":
    """Return the picture with its ground truth and the detections from the threshold on."""
    from frcnn.data.voc.pictures import read_picture
    from frcnn.report.drawing import draw

    rows = found.rows(found.image_ids.index(annotation.image_id))
    boxes, scores, labels = found.boxes[rows], found.scores[rows], found.labels[rows]
    shown = scores >= score_threshold
    return draw(
        read_picture(annotation.path),
        boxes[shown],
        labels[shown],
        scores[shown],
        found.class_names,
        annotation.boxes,
        annotation.labels,
    )


def _save(path: Path, picture: "np.ndarray") -> "np.ndarray":
    from PIL import Image

    Image.fromarray(picture).save(path)
    return picture
