"""Ours and torchvision's detector trained side by side on real pictures: python -m benchmarks.head_to_head --help.

Both have the same network, initial tensors, pictures and schedule: that of torchvision's reference script (SGD with
momentum, a linear rise over the first epoch). Ours trains in bf16 by its own loop, from files to checkpoints.
torchvision's trains by its script's transforms, sampler and step, in float32 and under bf16 autocast. They take turns,
an epoch each; the time of an epoch is that of training alone, the mAP that on the test split.
"""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Image

from benchmarks.augmentation import Find, detect_all, take
from benchmarks.starts import PRESET, call
from benchmarks.torchvision_model import build_rival, rival_detect, rival_optimizer, rival_training_step
from frcnn.allocation import keep_freed_memory, return_freed_memory
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.data.voc.pictures import read_picture
from frcnn.detections.detections import Detections
from frcnn.detector.interfaces import Detector
from frcnn.detector.run import detect_pictures
from frcnn.evaluation.coco import evaluate_coco
from frcnn.evaluation.voc_ap import evaluate, mean_ap
from frcnn.params import Params, load_params
from frcnn.training.loop import Job, Report, train_phase
from frcnn.training.schedule import learning_rate
from frcnn.training.setup import Inputs, set_up
from stages.terminal.options import Overrides

RECIPE = (
    "train.optimizer={name: sgd, momentum: 0.9, weight_decay: 0.0001, bias_weight_decay: 0.0001}",
    "train_phase1.learning_rate=0.01", "train.precision=bf16", "detect.precision=bf16", "data.antialias=false",
    "model.width=64",
)  # fmt: skip
RIVALS = {"torchvision float32": torch.float32, "torchvision autocast": torch.bfloat16}


def run(
    archive: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Dataset in VOC layout.")],
    start: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Detector whose tensors all start from.")],
    overrides: Overrides = None,
    pictures: Annotated[int, typer.Option("--pictures", help="To train on.")] = 400,
    epochs: Annotated[int, typer.Option("--epochs")] = 5,
    seeds: Annotated[str, typer.Option("--seeds", help="With commas.")] = "1,2",
    folder: Annotated[Path, typer.Option("--folder", help="Of all other files.")] = Path("head-to-head"),
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="CSV to write.")] = Path("head-to-head.csv"),
) -> None:
    """Train the preset demo's network with each; print mAP and seconds of each epoch."""
    source = [f"download.source={archive.resolve()}", *(overrides or ())]
    folder.mkdir(parents=True, exist_ok=True)
    call(folder, "download", source)
    split = take(VocDataset(folder / "data/dataset"), load_params(Path(PRESET), source), pictures)
    changes = [
        *RECIPE, f"train_phase1.warmup_steps={pictures // 8 - 1}", *source, f"splits.train={split}",
        f"train_phase1.epochs={epochs}", f"model.weights={start.resolve()}",
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for seed in map(int, seeds.split(",")):
        own = [*changes, f"train.seed={seed}"]
        call(folder, "anchors", own)
        race(load_params(Path(PRESET), own), folder, start, rows)
        pd.DataFrame(rows).to_csv(out, index=False)


def race(params: Params, folder: Path, start: Path, rows: list[dict[str, Any]]) -> None:
    """Train all in turns with one seed, and add a row for each epoch of each."""
    setup = set_up(params, 1, Inputs(folder / "data/dataset", folder / "data/anchors.h5", start), "cpu")
    data = VocDataset(folder / "data/dataset")
    trained, test = (
        data.annotations(name, params.data.box_convention) for name in (params.splits.train, params.splits.test)
    )
    learner = setup.learner()
    rivals = {name: Rival(setup.network, params, trained, precision) for name, precision in RIVALS.items()}
    began = time.perf_counter()

    def note(name: str, epoch: int, seconds: float, find: Find) -> None:
        quality = measure(test, learner.config.class_names, params.detect.batch_size, find)
        rows.append({"seed": params.train.seed, "network": params.model.backbone, "epoch": epoch, "trainer": name})
        rows[-1] |= {"seconds": round(seconds, 2), **quality}
        print(*rows[-1].values(), flush=True)

    def take_turns(report: Report) -> None:
        nonlocal began
        if report.step % (report.steps // params.train_phase1.epochs):
            return
        ours = time.perf_counter() - began
        with learner.evaluating() as detector:
            note("ours bf16", report.epoch, ours, partial(detect, detector, params))
        for name, rival in rivals.items():
            note(name, report.epoch, rival.train_epoch(report.epoch), rival.find)
        began = time.perf_counter()

    checkpoint = folder / "last.pt"
    checkpoint.unlink(missing_ok=True)
    job = Job(1, params.train_phase1, setup.source, setup.fingerprint, checkpoint, setup.provenance)
    train_phase(learner, job, take_turns, lambda: False, print)


def detect(detector: Detector, params: Params, pictures: list[np.ndarray]) -> list[Detections]:
    """Detect with our network."""
    return detect_pictures(detector, pictures, params.detect, params.detect.precision)


def measure(test: Sequence[Annotation], class_names: Sequence[str], size: int, find: Find) -> dict[str, float]:
    """Return the all-point mAP at IoU 0.5 and COCO's AP on the test split."""
    detections = detect_all(test, class_names, size, find)
    area = mean_ap(evaluate(test, detections, 0.5), "area")
    return {"mAP": round(area, 4), "COCO AP": evaluate_coco(test, detections).metrics["AP"]}


class Rival:
    """torchvision's model, trained as its reference script does it."""

    def __init__(self, ours: Any, params: Params, annotations: Sequence[Annotation], precision: torch.dtype) -> None:
        """Copy the weights that ours starts from."""
        self.model, self.params, self.precision = build_rival(ours, params), params, precision
        self.optimizer, self.step = rival_optimizer(self.model, params), 0
        self.draw = torch.Generator().manual_seed(params.train.seed)
        self.loader = DataLoader(
            Pictures(annotations), params.train.batch_size, True, collate_fn=list, generator=self.draw
        )

    def train_epoch(self, epoch: int) -> float:
        """Train on each picture once; return seconds."""
        return_freed_memory()  # as torchvision's users have it
        began = time.perf_counter()
        self.model.train()
        torch.manual_seed(1000 * self.params.train.seed + epoch)
        for batch in self.loader:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, 0, self.params.train_phase1, self.params.train)
            images, targets = (list(column) for column in zip(*batch, strict=True))
            rival_training_step(self.model, self.optimizer, (images, targets), self.precision)
            self.step += 1
        seconds = time.perf_counter() - began
        keep_freed_memory()
        return seconds

    def find(self, pictures: list[np.ndarray]) -> list[Detections]:
        """Detect in pictures (H, W, 3) uint8."""
        self.model.eval()
        images = [torch.tensor(picture).permute(2, 0, 1).float() / 255 for picture in pictures]
        return [
            Detections(each["boxes"].float().numpy(), each["scores"].float().numpy(), each["labels"].numpy())
            for each in rival_detect(self.model, images, self.precision)
        ]


class Pictures(Dataset[Any]):
    """Pictures and objects with the transforms of torchvision's reference script (its preset hflip)."""

    def __init__(self, annotations: Sequence[Annotation]) -> None:
        """Take the annotations to read."""
        self.annotations = annotations
        self.transform = v2.Compose([v2.RandomHorizontalFlip(0.5), v2.ToDtype(torch.float32, scale=True)])

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.annotations)

    def __getitem__(self, index: int) -> Any:
        """Return an image (3, H, W) float32 in 0..1 and its boxes and labels."""
        annotation = self.annotations[index]
        image = Image(torch.tensor(read_picture(annotation.path)).permute(2, 0, 1))
        size = (annotation.height, annotation.width)
        boxes = BoundingBoxes(torch.from_numpy(annotation.boxes), format=BoundingBoxFormat.XYXY, canvas_size=size)
        return self.transform(image, {"boxes": boxes, "labels": torch.from_numpy(annotation.labels)})


if __name__ == "__main__":
    typer.run(run)
