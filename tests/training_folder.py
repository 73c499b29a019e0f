"""A working folder in which `frcnn train --phase 1` can be started, and what it leaves there."""

import shutil
from pathlib import Path

from stages.anchors import run as anchors_stage

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ("data/models/phase1.safetensors", "metrics/train_phase1.csv")


def prepare(folder: Path, dataset: Path) -> Path:
    """Make a working folder up to the anchors."""
    (folder / "data").mkdir(parents=True)
    shutil.copy(ROOT / "params.demo.yaml", folder / "params.yaml")
    (folder / "data" / "dataset").symlink_to(dataset)
    anchors_stage(folder / "params.yaml", ["model.width=16"], dataset, folder / "data" / "anchors.h5", workers=0)
    return folder


def results(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in RESULTS]
