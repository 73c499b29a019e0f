"""Every format that the commands read: a project with a good file of each, and who reads it."""

import pickle
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import torch
import torchvision
from PIL import Image

from frcnn.data.voc import pictures
from tests.crash.forked import make_project, run
from tests.crash.points import count_changes
from tests.foreign_weights import VGG_CONVOLUTIONS, constants, detectron2_arrays

NONE = ("--workers", "0")
ANCHORS, CHECK, EVALUATE = ("anchors", *NONE), ("check", *NONE), ("evaluate",)
DATASET = "data/dataset"
PICTURES = {"JPEG": "jpg", **{name: name.lower() for name in pictures.FORMATS[1:]}}


@dataclass(frozen=True)
class Format:
    """A file, and the commands that read it.

    Attributes:
        path: below the project; "" for texts of --set.
        sealed: whether every changed byte has to be noticed: a digest or checksum covers them all.
        share: how many mutants it gets, relative to others.
    """

    name: str
    path: str
    commands: Sequence[tuple[str, ...]]
    text: bool = False
    sealed: bool = False
    share: float = 1


def _source(name: str) -> tuple[tuple[str, ...]]:
    return (("download", *NONE, "-S", f"download.source=sources/{name}", "--dataset", "installed"),)


def _foreign(name: str, *options: str) -> tuple[tuple[str, ...]]:
    return (("import-weights", f"foreign/{name}", "--out", "imported.safetensors", *options),)


TRAIN1 = ("train", "--phase", "1", "--checkpoint-seconds", "0")
START = (*TRAIN1[:3], "-S", "model.weights=start.safetensors", "-S", "model.width=64", "--models", "other")
FORMATS = [
    Format("params", "params.yaml", (ANCHORS, EVALUATE, ("render",), ("detect",)), text=True, share=2),
    Format("set", "", (ANCHORS, EVALUATE, ("render",), ("detect",)), text=True, share=2),
    Format("xml", f"{DATASET}/Annotations/train_00003.xml", (ANCHORS, CHECK), text=True, share=2),
    Format("split list", f"{DATASET}/ImageSets/Main/trainval.txt", (ANCHORS, CHECK), text=True),
    Format("classes", f"{DATASET}/classes.txt", (ANCHORS, CHECK, EVALUATE), text=True),
    Format("picture of set", f"{DATASET}/JPEGImages/train_00003.jpg", (ANCHORS, CHECK)),
    *(Format(kind, f"pictures/p.{end}", (("predict", f"pictures/p.{end}"),), share=0.5)
      for kind, end in PICTURES.items()),
    Format("tar", "sources/set.tar", _source("set.tar")),
    Format("tar.gz", "sources/set.tar.gz", _source("set.tar.gz"), sealed=True),
    Format("tar.xz", "sources/set.tar.xz", _source("set.tar.xz"), sealed=True, share=0.5),
    Format("zip", "sources/set.zip", _source("set.zip"), sealed=True),
    Format("COCO instances", "sources/coco/annotations/instances_trainval.json", _source("coco"), text=True),
    Format("YOLO labels", "sources/yolo/labels/train_00003.txt", _source("yolo"), text=True),
    Format("data.yaml", "sources/yolo/data.yaml", _source("yolo"), text=True),
    Format("anchors.h5", "data/anchors.h5", (TRAIN1,), sealed=True),
    Format("detections.h5", "data/detections.h5", (EVALUATE, ("render",), ("report",)), sealed=True),
    Format("summary.json", "metrics/summary.json", (("report",),), text=True, share=0.3),
    Format("log of training", "metrics/train_phase1.csv", (("report",),), text=True, share=0.3),
    Format("weights", "data/models/phase1.safetensors", (("train", "--phase", "2"),), sealed=True, share=0.5),
    Format("detector", "data/models/phase2.safetensors", (("detect",), ("predict", "pictures/p.jpg")), sealed=True),
    Format("start weights", "start.safetensors", (START,), sealed=True, share=0.3),
    Format("checkpoint", "checkpoints/phase1/last.pt", (TRAIN1,), sealed=True),
    Format("COCO results", "results.json", (("evaluate", "--detections", "results.json"),), text=True),
    Format("ResNet .pth", "foreign/resnet18.pth", _foreign("resnet18.pth")),
    Format("VGG .pth", "foreign/vgg.pth", _foreign("vgg.pth", "--preparation", "caffe"), share=0.3),
    Format("VGG .h5", "foreign/vgg.h5", _foreign("vgg.h5"), share=0.3),
    Format("C4 .pkl", "foreign/c4.pkl", _foreign("c4.pkl")),
]  # fmt: skip
STOP_AT = 14  # a change of a checkpoint's folder, between two checkpoints


def make_base(folder: Path) -> Path:
    """Make a project whose stages have run, training interrupted, with a good file of each format."""
    base = make_project(folder / "base")
    _run(base, "download", *NONE, "-S", "download.synthetic.seed=4")
    _run(base, *ANCHORS)
    with (folder / "events").open("w") as log:
        stopped = run(list(TRAIN1), base, partial(count_changes, base, log.fileno(), STOP_AT, signal.SIGTERM))
    assert stopped.code == 128 + signal.SIGTERM, stopped
    unfinished = base / "checkpoints" / "phase1" / "last.pt"
    shutil.copy(unfinished, folder / "last.pt")
    for command in (TRAIN1, ("train", "--phase", "2"), ("detect",), ("detect", "--out", "results.json"), EVALUATE):
        _run(base, *command)
    shutil.move(folder / "last.pt", unfinished)
    shutil.rmtree(base / "checkpoints" / "phase2")
    _add_sources(base / "sources", base / DATASET)
    for layout in ("coco", "yolo"):
        _run(base, "export", "--to", layout, "--out", f"sources/{layout}")
    _add_pictures(base / "pictures", base / DATASET / "JPEGImages" / "test_00001.jpg")
    _add_foreign(base / "foreign")
    _run(base, "import-weights", "foreign/resnet18.pth", "--out", "start.safetensors")
    return base


def _run(folder: Path, *arguments: str) -> None:
    ended = run(list(arguments), folder)
    assert ended.code == 0, ended


def _add_sources(folder: Path, dataset: Path) -> None:
    folder.mkdir()
    for kind in ("tar", "gztar", "xztar", "zip"):
        shutil.make_archive(str(folder / "set"), kind, dataset)


def _add_pictures(folder: Path, picture: Path) -> None:
    folder.mkdir()
    with Image.open(picture) as image:
        for name, end in PICTURES.items():
            small = image.resize((96, 80))
            small.save(folder / f"p.{end}", name, **({"compression": "tiff_lzw"} if name == "TIFF" else {}))


def _add_foreign(folder: Path) -> None:
    folder.mkdir()
    (folder / "c4.pkl").write_bytes(pickle.dumps({"model": detectron2_arrays()}, protocol=2))
    with torch.device("meta"):
        resnet = torchvision.models.resnet18().state_dict()
    torch.save(constants(resnet), folder / "resnet18.pth")
    shapes = {f"features.{i}": (out, into, 3, 3) for i, _, _, into, out in VGG_CONVOLUTIONS}
    shapes |= {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096)}
    vgg = {f"{name}.weight": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    vgg |= {f"{name}.bias": torch.empty(shape[0], device="meta") for name, shape in shapes.items()}
    torch.save({"model": constants(vgg)}, folder / "vgg.pth")
    with h5py.File(folder / "vgg.h5", "w") as file:
        layers = {f"block{block}_conv{number}": (3, 3, into, out) for _, block, number, into, out in VGG_CONVOLUTIONS}
        for layer, shape in {**layers, "fc1": (25088, 4096), "fc2": (4096, 4096)}.items():
            file.create_dataset(f"{layer}/{layer}/kernel:0", shape, "f4", fillvalue=0.01)  # takes no room
            file.create_dataset(f"{layer}/{layer}/bias:0", shape[-1:], "f4", fillvalue=0.1)
