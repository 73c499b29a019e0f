"""What fitted anchors are worth: python -m benchmarks.fitted --help.

The same network trains for the same steps with the preset's anchors, with those that `frcnn check --fit` finds at the
same size, and with all sizes that it proposes, the images' included.
"""

import json
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from benchmarks.starts import PRESET, call
from frcnn.advice.anchor_search import fit_anchors
from frcnn.advice.coverage import best_ious, resize_objects
from frcnn.advice.figures import coverage_of, read_training
from frcnn.advice.fit import propose
from frcnn.advice.proposals import Advice
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import load_params
from stages.terminal.options import Overrides

SIZES = ("data.min_size", "data.max_size", "anchors.anchor_sizes", "anchors.anchor_ratios")


def run(
    source: Annotated[str, typer.Argument(help="As download.source: a folder, an archive, or synthetic.")],
    overrides: Overrides = None,
    folder: Annotated[Path, typer.Option("--folder", help="Of all other files.")] = Path("fitted"),
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("fitted.csv"),
    train: Annotated[bool, typer.Option(help="Train, detect and evaluate; else only the coverage.")] = True,
) -> None:
    """Train the preset demo with each choice of sizes; print coverage and mAP."""
    source = source if source == "synthetic" else str(Path(source).resolve())
    changes = [f"download.source={source}", *(overrides or ())]
    folder.mkdir(parents=True, exist_ok=True)
    call(folder, "download", changes)
    rows = []
    for name, own in choices(folder / "data/dataset", changes).items():
        row = {"anchors": name, "changes": " ".join(own), **coverage(folder / "data/dataset", [*changes, *own])}
        start = time.monotonic()
        if train:
            for stage in ("anchors", "train --phase 1", "train --phase 2", "detect", "evaluate"):
                command, *options = stage.split()
                call(folder, command, [*changes, *own], *options)
            row["mAP"] = json.loads((folder / "metrics/summary.json").read_text())["mAP_voc07"]
            row["minutes"] = round((time.monotonic() - start) / 60, 1)
        rows.append(row)
        pd.DataFrame(rows).to_csv(out, index=False)
        print(*row.values(), flush=True)


def choices(dataset: Path, changes: list[str]) -> dict[str, list[str]]:
    """Return by name what each choice changes: nothing, the anchors alone, all sizes that are proposed."""
    params, data = load_params(Path(PRESET), changes), VocDataset(dataset)
    objects = resize_objects(read_training(data, params)[0], params.data)
    fitted, advice = fit_anchors(objects, params.model.backbone, params.anchors), Advice(params)
    advice.propose({"anchors.anchor_sizes": fitted.anchor_sizes, "anchors.anchor_ratios": fitted.anchor_ratios}, "")
    proposals = {"fitted": advice.proposals, "all sizes": [each for each in propose(data, params) if each.key in SIZES]}
    found = {name: [each.assignment for each in own] for name, own in proposals.items()}
    if found["all sizes"] in ([], found["fitted"]):
        del found["all sizes"]
    return {"default": []} | found


def coverage(dataset: Path, changes: list[str]) -> dict[str, float]:
    """Return the share of the training split's objects whose best anchor reaches an IoU of 0.5, and of 0.7."""
    params = load_params(Path(PRESET), changes)
    objects = resize_objects(read_training(VocDataset(dataset), params)[0], params.data)
    half, most = coverage_of(best_ious(objects, params.model.backbone, params.anchors))
    return {"IoU 0.5": round(half, 3), "IoU 0.7": round(most, 3)}


if __name__ == "__main__":
    typer.run(run)
