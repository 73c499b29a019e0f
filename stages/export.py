"""Command `export`: write the dataset for other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .terminal import options
from .terminal.console import say

MARKER = ".frcnn-export"  # tells a folder that may be replaced


class Layout(StrEnum):
    """What other tools read."""

    coco = "coco"
    yolo = "yolo"


def run(
    to: Annotated[Layout, typer.Option("--to", help="COCO's instances or YOLO's labels.")],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write, or to replace.")],
    dataset: options.Dataset = options.DATASET,
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
) -> None:
    """Read the dataset, write its pictures, objects and splits as COCO or YOLO has them."""
    from frcnn.data.export import export_dataset
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.files import atomic_folder, write_text
    from frcnn.params import load_params

    params, voc = load_params(params_file, overrides or ()), VocDataset(dataset)
    with atomic_folder(out, MARKER) as scratch:
        notes = export_dataset(voc, scratch / "new", to, params)
        write_text(scratch / "new" / MARKER, "Made by `frcnn export`, which replaces this folder.\n")
    for what, count in notes.items():
        if count:
            say(f"{out}: {what}: {count}")
    splits = ", ".join(f"{split} {len(voc.split(split))}" for split in voc.split_names)
    say(f"{out}: {len(voc.class_names)} classes; pictures: {splits}")
