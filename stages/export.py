"""Command `export`: write the dataset, or a trained detector, for other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from frcnn.errors import UserError

from .terminal import options
from .terminal.console import plural, say
from .terminal.detection import detection_settings

MARKER = ".frcnn-export"  # tells a folder that may be replaced


class Target(StrEnum):
    """What other tools read: a dataset's layout, or a detector's file."""

    coco = "coco"
    yolo = "yolo"
    onnx = "onnx"
    pt2 = "pt2"


class Resize(StrEnum):
    """Where pictures are resized."""

    inside = "inside"
    outside = "outside"


def run(
    to: Annotated[
        Target, typer.Option("--to", help="The dataset: coco, yolo; the detector: onnx, pt2 (torch.export archive).")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="Folder, or the detector's file, to write.")],
    dataset: options.Dataset = options.DATASET,
    weights: options.Weights = options.FINAL_WEIGHTS,
    resize: Annotated[
        Resize | None,
        typer.Option("--resize", help="Where a detector's file has pictures resized; default: inside, of pt2 outside."),
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="To verify a detector; default: a drawn one.")
    ] = None,
    params_file: Annotated[
        Path | None,
        typer.Option("--params", metavar="FILE", help="Parameter file, or a preset; default: as in predict."),
    ] = None,
    overrides: options.Overrides = None,
) -> None:
    """Read the dataset, write it as COCO or YOLO has it; or read weights, write an ONNX or pt2 file."""
    if to in (Target.coco, Target.yolo):
        if resize or picture:
            raise UserError(f"--to {to} writes the dataset; --resize and --picture are for --to onnx and pt2")
        _export_dataset(to, out, dataset, params_file or Path("params.yaml"), overrides or [])
    else:
        _export_detector(to, out, weights, resize, picture, params_file, overrides or [])


def _export_dataset(to: Target, out: Path, dataset: Path, params_file: Path, overrides: list[str]) -> None:
    from frcnn.data.export import export_dataset
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.files import atomic_folder, write_text
    from frcnn.params import load_params

    params, voc = load_params(params_file, overrides), VocDataset(dataset)
    with atomic_folder(out, MARKER) as scratch:
        notes = export_dataset(voc, scratch / "new", "coco" if to is Target.coco else "yolo", params)
        write_text(scratch / "new" / MARKER, "Made by `frcnn export`, which replaces this folder.\n")
    for what, count in notes.items():
        if count:
            say(f"{out}: {what}: {count}")
    splits = ", ".join(f"{split} {len(voc.split(split))}" for split in voc.split_names)
    say(f"{out}: {len(voc.class_names)} classes; pictures: {splits}")


def _export_detector(
    to: Target,
    out: Path,
    weights: Path,
    resize: Resize | None,
    picture: Path | None,
    params_file: Path | None,
    overrides: list[str],
) -> None:
    """Write a detector's file after it was run on a picture and compared with the network."""
    if to is Target.pt2 and resize is Resize.inside:
        raise UserError("--to pt2: cannot resize inside; leave --resize out, or use --to onnx")
    if to is Target.onnx and out.suffix != ".onnx":
        raise UserError(f"--out {out}: name a file that ends in .onnx, by which predict knows it")
    if out.is_dir():
        raise UserError(f"--out {out}: is a folder; name a file")
    import numpy as np

    from frcnn.data.voc.pictures import read_picture
    from frcnn.frameworks import load_network
    from frcnn.importing.published_detectors import find_detector
    from frcnn.sources.shapes import draw_picture

    try:
        from frcnn.onnx.exporting import Exported, export, weights_header
    except ModuleNotFoundError as error:
        raise UserError(f"--to {to}: needs {error.name}; pip install 'frcnn[onnx]'") from error
    seen = read_picture(picture) if picture else draw_picture(np.random.default_rng(1))[0]
    weights = find_detector(weights)
    model = load_network(weights).eval()
    settings = detection_settings(params_file, overrides, model.config.postprocessing)
    detector = Exported(model, settings, to is Target.onnx and resize is not Resize.outside, weights_header(weights))
    say(f"{weights}: exporting, which takes a minute or several")
    found = export(detector, "onnx" if to is Target.onnx else "pt2", out, seen)
    compared = f"{plural(found.compared, 'detection')} at most {found.box:.1g} px and {found.score:.1g} in score apart"
    say(f"{out}: {compared} from the network's")
