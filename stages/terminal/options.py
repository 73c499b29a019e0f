"""Options that several commands share; the default paths are those of dvc.yaml (a test compares)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DATASET = Path("data/dataset")
ANCHORS = Path("data/anchors.h5")
MODELS = Path("data/models")
FINAL_WEIGHTS = MODELS / "phase2.safetensors"
DETECTIONS = Path("data/detections.h5")
RENDERS = Path("data/renders")
REPORT = Path("data/report")
METRICS = Path("metrics")


class FrameworkName(StrEnum):
    """What runs the network."""

    torch = "torch"
    tensorflow = "tensorflow"


ParamsFile = Annotated[
    Path,
    typer.Option("--params", metavar="FILE", help="Parameter file, or a preset: default, demo, finetune, reference."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-S", metavar="KEY=VALUE", help="Replace one parameter, such as train.batch_size=4; repeatable."
    ),
]
Dataset = Annotated[Path, typer.Option("--dataset", metavar="FOLDER", help="Dataset in VOC layout.")]
AnchorsFile = Annotated[Path, typer.Option("--anchors", metavar="FILE", help="Anchor targets.")]
Weights = Annotated[Path, typer.Option("--weights", metavar="FILE", help="Weights of a trained detector.")]
Detections = Annotated[
    Path, typer.Option("--detections", metavar="FILE", help="Detections; a .json file: COCO results.")
]
Instances = Annotated[
    Path | None,
    typer.Option("--instances", metavar="FILE", help="COCO's instances (JSON) whose ids the COCO results have."),
]
Split = Annotated[str | None, typer.Option("--split", metavar="NAME", help="Split; default: splits.test.")]
Device = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, mps, or auto.", envvar="FRCNN_DEVICE")
]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="Parallel workers; default: one per core.")]
