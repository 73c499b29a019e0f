"""The mAP over the epochs of training, from given weights and from random ones: python -m benchmarks.starts --help.

One training of each start and seed; its weights after some epochs go through the stages detect and evaluate.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import h5py
import numpy as np
import pandas as pd
import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from frcnn.data.voc.dataset import VocDataset
from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import write_weights
from frcnn.frameworks import initial_network
from frcnn.params import Params, load_params
from frcnn.training.loop import Job, Report, train_phase
from frcnn.training.setup import Inputs, set_up
from stages.terminal.options import Overrides

PRESET = "demo"
HDF5 = (".h5", ".hdf5")
RANDOM, SHUFFLED = "random", "shuffled"


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Dataset in VOC layout.")],
    starts: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=FILE...",
            help="Weights to start from: a detector's, or of HED in Keras (.h5), whose convolutions are VGG-16's; "
            f"with the name {SHUFFLED} the values of each convolution are mixed.",
        ),
    ],
    overrides: Overrides = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Of training, with commas.")] = "1,2",
    epochs: Annotated[str, typer.Option("--epochs", help="After which the mAP is measured, with commas.")] = "1,2,4,8",
    folder: Annotated[Path, typer.Option("--folder", help="Of all other files; a run goes on there.")] = Path("starts"),
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV; its plot is written beside it.")] = Path(
        "starts.csv"
    ),
) -> None:
    """Train the preset demo from each start and from random weights, on one dataset and by one schedule."""
    measured = [int(epoch) for epoch in epochs.split(",")]
    changes = [f"download.source={archive.resolve()}", f"train_phase1.epochs={max(measured)}", *(overrides or ())]
    files = {RANDOM: None} | {name: Path(file).resolve() for name, _, file in (each.partition("=") for each in starts)}
    folder.mkdir(parents=True, exist_ok=True)
    for stage in ("download", "anchors"):
        call(folder, stage, changes)
    rows = []
    for seed in map(int, seeds.split(",")):
        for name, file in files.items():
            scratch = folder / f"{name}-{seed}"
            scratch.mkdir(exist_ok=True)
            own = [*changes, f"train.seed={seed}"]
            if file and file.suffix in HDF5:
                file = with_convolutions(file, load_params(Path(PRESET), own), folder, scratch, name == SHUFFLED)
            own.append(f"model.weights={file or 'none'}")
            train(load_params(Path(PRESET), own), file, folder, scratch, measured)
            for epoch in measured:
                rows.append({"start": name, "seed": seed, "epochs": epoch, "mAP": measure(folder, scratch, epoch, own)})
                print(*rows[-1].values(), flush=True)
            table = pd.DataFrame(rows)
            table.to_csv(out, index=False)
    plot(table, out.with_suffix(".png"))


def call(folder: Path, stage: str, changes: list[str], *options: str) -> None:
    """Run a stage in a folder."""
    settings = [option for change in changes for option in ("-S", change)]
    command = [sys.executable, "-m", "stages.cli", stage, "--params", PRESET, *settings, *options]
    root = Path(__file__).resolve().parents[1]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(root)}, check=True)


def train(params: Params, file: Path | None, folder: Path, scratch: Path, measured: list[int]) -> None:
    """Train; keep the weights after the epochs that are to be measured."""
    setup = set_up(params, 1, Inputs(folder / "data/dataset", folder / "data/anchors.h5", file), "cpu")
    learner = setup.learner()
    print(scratch.name, setup.backend.description, *setup.notes, flush=True)

    def keep(report: Report) -> None:
        epoch, more = divmod(report.step, report.steps // params.train_phase1.epochs)
        if not more and epoch in measured:
            print(scratch.name, "epoch", epoch, {name: round(loss, 4) for name, loss in report.losses.items()})
            write_weights(scratch / f"{epoch}.safetensors", learner.config, learner.weights(), setup.provenance)

    checkpoint = scratch / "last.pt"
    job = Job(1, params.train_phase1, setup.source, setup.fingerprint, checkpoint, setup.provenance)
    train_phase(learner, job, keep, lambda: False, print)


def measure(folder: Path, scratch: Path, epoch: int, changes: list[str]) -> float:
    """Return the mAP (11-point) on the test split."""
    call(folder, "detect", changes, "--weights", str((scratch / f"{epoch}.safetensors").resolve()))
    call(folder, "evaluate", changes)
    return json.loads((folder / "metrics/summary.json").read_text())["mAP_voc07"]


def with_convolutions(file: Path, params: Params, folder: Path, scratch: Path, shuffled: bool) -> Path:
    """Write initial weights that are the random ones of the seed, but for the convolutions of HED."""
    classes, draw = VocDataset(folder / "data/dataset").class_names, np.random.default_rng(params.train.seed)
    network = initial_network(detector_config(classes, params), params.train.seed)
    state = network.backbone.state_dict() | network.head.state_dict()
    names = iter([name.removesuffix(".weight") for name in state if "features" in name and name.endswith(".weight")])
    with h5py.File(file) as content:
        for block in range(1, 6):
            layers = content[f"block{block}/layers"]
            for layer in sorted(name for name in layers if name.startswith("conv2d")):
                kernel, bias = (layers[f"{layer}/vars/{index}"][()] for index in (0, 1))
                kernel = draw.permutation(kernel.ravel()).reshape(kernel.shape) if shuffled else kernel
                name = next(names)
                state[f"{name}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
                state[f"{name}.bias"] = torch.from_numpy(bias)
    torch.save(state, scratch / "initial.pth")
    return (scratch / "initial.pth").resolve()


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw the mAP over the epochs: a color for each start, a line for each seed."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    for color, (name, own) in enumerate(table.groupby("start", sort=False)):
        for style, (seed, line) in zip("-:", own.groupby("seed"), strict=False):
            axes.plot(line["epochs"], line["mAP"], f"o{style}", color=f"C{color}", label=f"{name}, seed {seed}")
    axes.set(xlabel="epochs", ylabel="mAP on the test split", ylim=(0, 1), xticks=sorted(set(table["epochs"])))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    typer.run(run)
