"""How well networks from random weights find small objects: python -m benchmarks.small_objects --help.

Shapes of 8 to 24 px are drawn on pictures of 320 px; each network trains on the same ones.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from frcnn.sources import shapes
from frcnn.sources.synthetic import draw_dataset

SIDE, DIAMETER = 320, (8, 24)  # px
# Anchors near the objects' sizes at every map; a pyramid's go on to twice that size at each coarser one.
SIZES = {"resnet50-fpn": "[[8,16],[16,32],[32,64],[64,128],[128,256]]"}
COMMON = (f"data.min_size={SIDE}", f"data.max_size={SIDE}", "anchors.rpn_straddle_thresh=null")


def run(
    networks: Annotated[list[str], typer.Argument(metavar="BACKBONE...", help="Values of model.backbone.")],
    images: Annotated[int, typer.Option("--images", help="To train on; half as many to test on.")] = 400,
    epochs: Annotated[int, typer.Option("--epochs", help="Of phase 1; phase 2 has a quarter as many.")] = 8,
    folder: Annotated[Path, typer.Option("--folder", help="Of all other files.")] = Path("small"),
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("small.csv"),
) -> None:
    """Train the preset demo with each network, detect and evaluate."""
    shapes.DIAMETER, shapes.SHORT_SIDE, shapes.LONG_SIDE = DIAMETER, SIDE, (SIDE, SIDE)
    draw_dataset(folder / "data" / "dataset", images, 0, images // 2, seed=1)
    rows = []
    for network in networks:
        changes = [
            *COMMON,
            f"model.backbone={network}",
            "model.width=64",
            f"anchors.anchor_sizes={SIZES.get(network, '[8,16,32]')}",
            "splits.train=train",
            f"train_phase1.epochs={epochs}",
            f"train_phase2.epochs={max(1, epochs // 4)}",
        ]
        start = time.monotonic()
        for stage in ("anchors", "train --phase 1", "train --phase 2", "detect", "evaluate"):
            call(folder, stage.split(), changes)
        summary = json.loads((folder / "metrics" / "summary.json").read_text())
        minutes = (time.monotonic() - start) / 60
        rows.append({"network": network, "mAP": summary["mAP_voc07"], "minutes": round(minutes, 1)})
        pd.DataFrame(rows).to_csv(out, index=False)
        print(*rows[-1].values(), flush=True)


def call(folder: Path, stage: list[str], changes: list[str]) -> None:
    """Run a stage in a folder."""
    settings = [option for change in changes for option in ("-S", change)]
    command = [sys.executable, "-m", "stages.cli", *stage, "--params", "demo", *settings]
    root = Path(__file__).resolve().parents[1]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(root)}, check=True)


if __name__ == "__main__":
    typer.run(run)
