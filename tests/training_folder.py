"""A working folder in which `frcnn train --phase 1` can be started, and what it leaves there."""

from pathlib import Path

from frcnn.params import PRESETS
from stages.anchors import run as anchors_stage

RESULTS = ("data/models/phase1.safetensors", "metrics/train_phase1.csv")


def prepare(folder: Path, dataset: Path) -> Path:
    """Make a working folder up to the anchors."""
    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_bytes((PRESETS / "demo.yaml").read_bytes())
    (folder / "data" / "dataset").symlink_to(dataset)
    anchors_stage(folder / "params.yaml", ["model.width=16"], dataset, folder / "data" / "anchors.h5", workers=0)
    return folder


def results(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in RESULTS]
