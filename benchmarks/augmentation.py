"""What augmentation, averaged weights and an early stop give: python -m benchmarks.augmentation --help.

Each training has the same number of steps. A fifth of its pictures is held out. Its weights are kept whenever an epoch
of the largest set would end; afterwards the test split is measured with the last ones, with their average, and with
those of the highest mAP on the held-out pictures.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from benchmarks.starts import PRESET, call
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.data.voc.pictures import read_picture
from frcnn.detections.detections import Detections, SplitDetections, join_detections
from frcnn.detector.run import detect_pictures
from frcnn.detector.weights_file import write_weights
from frcnn.evaluation.voc_ap import evaluate, mean_ap
from frcnn.frameworks import load_detector
from frcnn.params import Params, load_params
from frcnn.training.loop import Job, Report, train_phase
from frcnn.training.setup import Inputs, Setup, set_up
from stages.terminal.options import Overrides

STEPS, EVERY = 960, 80  # 80: an epoch of 640 pictures
SCHEDULE = ("train_phase1.schedule=steps", "train_phase1.milestones=[0.75]", "train_phase1.gamma=0.15")
HELD_OUT, DECAY, PATIENCE = 0.2, 0.999, 3
Find = Callable[[list[np.ndarray]], list[Detections]]


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Dataset in VOC layout.")],
    start: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Detector to start from.")],
    overrides: Overrides = None,
    sizes: Annotated[str, typer.Option("--sizes", help="Numbers of training pictures, with commas.")] = "50,200,800",
    presets: Annotated[str, typer.Option("--presets", help="Of augmentation, with commas.")] = "none,light,strong",
    seeds: Annotated[str, typer.Option("--seeds", help="Of training, with commas.")] = "1,2",
    folder: Annotated[Path, typer.Option("--folder", help="Of all other files.")] = Path("augmentation"),
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("augmentation.csv"),
) -> None:
    """Train the preset demo with few and many pictures and each preset of augmentation; print the mAP."""
    changes = [
        f"download.source={archive.resolve()}", f"model.weights={start.resolve()}", f"train.ema_decay={DECAY}",
        f"train.validation.fraction={HELD_OUT}", f"train.validation.every={STEPS}", *SCHEDULE, *(overrides or ()),
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    call(folder, "download", changes)
    rows = []
    for size, seed, preset in product(map(int, sizes.split(",")), map(int, seeds.split(",")), presets.split(",")):
        split = take(VocDataset(folder / "data/dataset"), load_params(Path(PRESET), changes), size)
        own = [*changes, f"splits.train={split}", f"train.seed={seed}", f"augment.preset={preset}"]
        call(folder, "anchors", own)
        rows.append({"pictures": size, "seed": seed, "augmentation": preset, **train(folder, own, start)})
        pd.DataFrame(rows).to_csv(out, index=False)
        print(*rows[-1].values(), flush=True)


def take(dataset: VocDataset, params: Params, size: int) -> str:
    """Write a split of so many training pictures, the same share of each class; return its name."""
    annotations = dataset.annotations(params.splits.train, params.data.box_convention)
    rng = np.random.default_rng(0)
    queues: dict[int, list[str]] = {}
    for index in rng.permutation(len(annotations)):
        queues.setdefault(int(annotations[index].labels[0]), []).append(annotations[index].image_id)
    turns = [image_id for turn in zip(*queues.values(), strict=False) for image_id in turn]
    name = f"train{size}"
    dataset.split_path(name).write_text("".join(f"{image_id}\n" for image_id in sorted(turns[:size])))
    return name


def train(folder: Path, changes: list[str], start: Path) -> dict[str, float]:
    """Train; return the figures of a row."""
    params = load_params(Path(PRESET), changes)
    inputs = Inputs(folder / "data/dataset", folder / "data/anchors.h5", start)
    trained = set_up(params, 1, inputs, "cpu")
    batches = -(-(len(trained.source.pictures) - len(trained.held_out)) // params.train.batch_size)
    params = load_params(Path(PRESET), [*changes, f"train_phase1.epochs={STEPS // batches}"])
    setup = set_up(params, 1, inputs, "cpu")
    learner, scratch = setup.learner(), folder / "weights"
    scratch.mkdir(exist_ok=True)
    steps: list[int] = []

    def keep(report: Report) -> None:
        if report.step not in steps and (report.step % EVERY == 0 or report.step == report.steps):
            steps.append(report.step)
            write_weights(scratch / f"{report.step}.safetensors", learner.config, learner.weights(), {})

    begin = time.monotonic()
    checkpoint = scratch / "last.pt"
    checkpoint.unlink(missing_ok=True)
    job = Job(1, params.train_phase1, setup.source, setup.fingerprint, checkpoint, held_out=setup.held_out)
    train_phase(learner, job, keep, lambda: False, print)
    seconds = time.monotonic() - begin
    write_weights(scratch / "average.safetensors", learner.config, learner.kept_weights(), {})
    return {"steps": steps[-1], "minutes": round(seconds / 60, 2)} | measure(folder, params, setup, scratch, steps)


def measure(folder: Path, params: Params, setup: Setup, scratch: Path, steps: list[int]) -> dict[str, float]:
    """Return mAP (11-point) on the test split by three choices of weights, and when training could have stopped."""
    scores = [score(scratch / f"{step}.safetensors", setup.held_out, params) for step in steps]
    best = int(np.argmax(scores))
    impatient = [at for at in range(len(scores)) if at - int(np.argmax(scores[: at + 1])) >= PATIENCE]
    stop = impatient[0] if impatient else len(scores) - 1
    early = int(np.argmax(scores[: stop + 1]))
    test = VocDataset(folder / "data/dataset").annotations(params.splits.test, params.data.box_convention)
    chosen = {"last": steps[-1], "average": "average", "best": steps[best], "early": steps[early]}
    found = {file: round(score(scratch / f"{file}.safetensors", test, params), 4) for file in set(chosen.values())}
    return {name: found[file] for name, file in chosen.items()} | {"best at": steps[best], "stopped at": steps[stop]}


def score(weights: Path, annotations: Sequence[Annotation], params: Params) -> float:
    """Return the mAP of a weights file on some pictures."""
    detector = load_detector(weights, "cpu", "torch")
    find = partial(detect_pictures, detector, settings=params.detect)
    detections = detect_all(annotations, detector.config.class_names, params.detect.batch_size, find)
    return mean_ap(evaluate(annotations, detections, params.evaluate.iou_threshold), "voc07")


def detect_all(annotations: Sequence[Annotation], class_names: Sequence[str], size: int, find: Find) -> SplitDetections:
    """Return what is found in pictures, so many at a time."""
    found: list[Detections] = []
    for first in range(0, len(annotations), size):
        found += find([read_picture(annotation.path) for annotation in annotations[first : first + size]])
    return join_detections([annotation.image_id for annotation in annotations], class_names, found)


if __name__ == "__main__":
    typer.run(run)
