"""Make what several tests need: parameters, datasets, files, networks, commands, a server, the same detector twice."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from frcnn.anchors.grid import FeatureMaps, feature_maps
from frcnn.anchors.label import label_annotation, label_image
from frcnn.anchors.targets import join_images, provenance_of, write_targets
from frcnn.arrays import size_of
from frcnn.backbones import STRIDE
from frcnn.checksums import BLANK, append_checksum
from frcnn.data.checks import check_dataset
from frcnn.data.voc.dataset import VocDataset
from frcnn.data.voc.problems import Problem
from frcnn.detector.batch import Batch
from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import write_weights
from frcnn.params import PRESETS, Anchors, Params
from frcnn.params.training import Train
from frcnn.params.types import Section
from frcnn.pytorch import inputs as torch_side
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.weights import arrays_of
from frcnn.training.batches import Sample, Source, collate
from frcnn.training.minibatch import sample_anchors

if TYPE_CHECKING:  # TensorFlow may be absent
    from frcnn.keras.faster_rcnn import FasterRCNN as KerasFasterRCNN
    from frcnn.keras.inputs import Inputs

ROOT = Path(__file__).resolve().parents[1]
POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no such thing")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into Linux")
FRCNN = [sys.executable, "-m", "stages.cli"]
# Runs a command in this process: from its arguments to exit code, stdout and stderr.
Command = Callable[..., tuple[object, str, str]]
AnySection = TypeVar("AnySection", bound=Section)


def change(section: AnySection, values: Mapping[str, Any]) -> AnySection:
    """Return parameters with the values of some keys, dotted where they are nested, replaced."""
    for key, value in values.items():
        name, _, rest = key.partition(".")
        section = section.model_copy(update={name: change(getattr(section, name), {rest: value}) if rest else value})
    return section


def build(params: Params, values: Mapping[str, Any] | None = None) -> FasterRCNN:
    """Build a detector of three classes with random weights, seeded; `values` replace parameters of `model`."""
    torch.manual_seed(0)
    model = change(params.model, values or {})
    return FasterRCNN(detector_config(["a", "b", "c"], params.model_copy(update={"model": model})))


def losses_of(
    model: FasterRCNN, batch: Batch, train: Train, precision: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return the four losses of a batch."""
    return model(torch_side.batch_inputs(batch, model.config), train, precision)


def one_map(rows: int, columns: int) -> FeatureMaps:
    """Return the feature map of a network that has one."""
    return FeatureMaps(((rows, columns),), ((STRIDE, STRIDE),))


def grid_of(size: tuple[int, int], backbone: str) -> tuple[int, int]:
    """Return (rows, columns) of the feature map, the only one, for an image of (width, height)."""
    return feature_maps(size, backbone, Anchors()).grids[0]


def make_sample(params: Params, backbone: str, image: np.ndarray, objects: list[tuple[int, ...]], seed: int) -> Sample:
    """Return a picture with objects of the classes 1, 2, ... as training loads it, with random samples."""
    boxes = np.array(objects, np.float32).reshape(-1, 4)
    labels = label_image(boxes, size_of(image), backbone, params.anchors)
    anchors = sample_anchors(labels, params.train.rpn, np.random.default_rng(seed))
    count = params.train.rpn.post_nms_topk + len(objects)
    priorities = np.random.default_rng(seed).random(count, np.float32)
    return Sample(str(seed), image, labels.gt_boxes, np.arange(1, 1 + len(objects)), *anchors, priorities)


def voc_object(name: str = "cat", box: object = (11, 21, 40, 60), extra: str = "") -> str:
    """Return the XML of an object."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    bndbox = "".join(f"<{corner}>{value}</{corner}>" for corner, value in corners)
    return f"<object><name>{name}</name>{extra}<bndbox>{bndbox}</bndbox></object>"


def write_voc(
    folder: Path, pictures: dict[str, str], classes: str | None = "cat\ndog\n", size: tuple[int, int] = (100, 80)
) -> Path:
    """Write a dataset with the split trainval; `pictures` maps ids to the XML of their objects."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for number, (image_id, objects) in enumerate(pictures.items()):
        xml = f"<annotation><filename>wrong.jpg</filename>{objects}</annotation>"
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml, encoding="utf-8")
        Image.new("RGB", size, (40 * number % 256, 128, 128)).save(folder / "JPEGImages" / f"{image_id}.jpg")
    write_list(folder, "".join(f"{image_id}\n" for image_id in pictures))
    if classes is not None:
        (folder / "classes.txt").write_text(classes, encoding="utf-8")
    return folder


def troubles(dataset: Path) -> list[Problem]:
    """Return what `frcnn check` finds, without mere notes."""
    return [problem for problem in check_dataset(dataset, Params()).problems if problem.action != "note"]


def write_list(folder: Path, text: str, split: str = "trainval") -> None:
    """Write the list of a split as it is."""
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text, encoding="utf-8", newline="")


def write_anchors(params: Params, dataset: Path, path: Path) -> Path:
    """Write anchors.h5 as `frcnn anchors` does."""
    data, split = VocDataset(dataset), params.splits.train
    annotations = data.annotations(split, params.data.box_convention)
    targets = join_images(annotations, [label_annotation(each, params) for each in annotations], data.class_names)
    write_targets(path, targets, provenance_of(params, data.class_names, data.split_sha256(split, annotations)))
    return path


# What `frcnn train --phase 1` leaves.
RESULTS = ("data/models/phase1.safetensors", "metrics/train_phase1.csv", "metrics/train_phase1.png")


def training_folder(folder: Path, dataset: Path) -> Path:
    """Make a working folder up to the anchors, in which `frcnn train --phase 1` can be started."""
    from stages.anchors import run as anchors_stage

    (folder / "data").mkdir(parents=True)
    (folder / "params.yaml").write_bytes((PRESETS / "demo.yaml").read_bytes())
    (folder / "data" / "dataset").symlink_to(dataset)
    anchors_stage(folder / "params.yaml", ["model.width=16"], dataset, folder / "data" / "anchors.h5", workers=0)
    return folder


def results(folder: Path) -> list[bytes]:
    """Return weights, log and its picture of phase 1."""
    return [(folder / name).read_bytes() for name in RESULTS]


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """Open a file of arrays to change it, and give it the checksum of what it then holds."""
    content = path.read_bytes()
    path.write_bytes(content[: -len(BLANK)])
    with h5py.File(path, "a") as file:
        yield file
    append_checksum(path)


def write_random_weights(path: Path, dataset: Path, params: Params) -> Path:
    """Write weights of a network that learned nothing, for the classes of a dataset."""
    config = detector_config(VocDataset(dataset).class_names, params)
    write_weights(path, config, arrays_of(FasterRCNN(config)), {})
    return path


def options(changes: Iterable[str]) -> list[str]:
    """Return the options of a command that change parameters."""
    return [word for change in changes for word in ("-S", change)]


def start(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    """Start a command in a folder; its output is kept."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=os.environ | environment, stdout=pipe, stderr=pipe, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has made a file."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def serve(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on a free port of this machine; yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(BaseHTTPRequestHandler):
    """Print nothing."""

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class FolderHandler(QuietHandler, SimpleHTTPRequestHandler):
    """Serve the files of a folder: `partial(FolderHandler, directory=...)`."""


SIZES = [(128, 96), (90, 110)]  # width, height; padded to 128 x 110, for VGG and ResNet a different grid
OBJECTS = [[(10, 8, 70, 64), (60, 25, 120, 90), (5, 50, 50, 90)], [(20, 30, 75, 100)]]
# Standard deviations of the outputs: scores that differ, boxes that move, classes told apart.
SPREAD = {"rpn.objectness": 2.0, "rpn.deltas": 0.2, "predictor.classes": 2.0, "predictor.deltas": 1.0}


@dataclass(frozen=True)
class Twins:
    """The same detector in torch and in TensorFlow, the same random weights, the same batch of two images.

    Tests may change the weights; `start` are those that both had first.
    """

    params: Params
    torch: FasterRCNN
    keras: "KerasFasterRCNN"
    start: dict[str, torch.Tensor]
    batch: Batch
    inputs: "Inputs"
    torch_inputs: torch_side.Inputs

    def reset(self) -> None:
        """Give both the weights that they started with."""
        from frcnn.keras.weights import load_arrays

        self.torch.load_state_dict(self.start)
        load_arrays(self.keras, {name: tensor.numpy() for name, tensor in self.start.items()}, "twin")

    @contextmanager
    def pooling(self, op: str) -> Iterator[None]:
        """Have both pool by an operator."""
        config = self.torch.config
        self.torch.config = self.keras.config = change(config, {"model.roi_pool.op": op})
        yield
        self.torch.config = self.keras.config = config


def build_twins(params: Params, **model_changes: object) -> Twins:
    """Build both with random weights, norms and biases."""
    from frcnn.keras.faster_rcnn import FasterRCNN as KerasFasterRCNN
    from frcnn.keras.inputs import batch_inputs

    # More RoIs than there are proposals and objects: some rows are padding.
    values = {f"model.{key}": value for key, value in model_changes.items()} | {"train.roi.batch_size": 64}
    params = change(params, values)
    config = detector_config(["a", "b", "c"], params)
    torch.manual_seed(0)
    twin = FasterRCNN(config)
    batch = make_batch(params, OBJECTS)
    _randomize(twin)
    _spread_outputs(twin, batch, params)
    start = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    inputs = (batch_inputs(batch, config), torch_side.batch_inputs(batch, config))
    twins = Twins(params, twin, KerasFasterRCNN(config), start, batch, *inputs)
    twins.reset()
    return twins


def make_batch(params: Params, objects: list[list[tuple[int, ...]]], sizes: list[tuple[int, int]] = SIZES) -> Batch:
    """Return a batch of noise with labeled anchors; objects are (x1, y1, x2, y2)."""
    samples = []
    for seed, ((width, height), boxes) in enumerate(zip(sizes, objects, strict=True)):
        rng = np.random.default_rng(seed)
        image = rng.integers(0, 255, (height, width, 3), np.uint8)
        gt = np.array(boxes, np.float32).reshape(-1, 4)
        labels = label_image(gt, (width, height), params.model.backbone, params.anchors)
        priorities = rng.random(params.train.rpn.post_nms_topk + len(gt), np.float32)
        anchors = sample_anchors(labels, params.train.rpn, rng)
        samples.append(Sample(str(seed), image, gt, np.arange(len(gt)) % 3 + 1, *anchors, priorities))
    return collate(samples, Source(None, [], params))  # type: ignore[arg-type]


def nhwc(maps: torch.Tensor) -> np.ndarray:
    """Return maps (N, D, H, W) as the other side has them."""
    return maps.detach().permute(0, 2, 3, 1).numpy()


def relative_error(found: Any, expected: Any) -> float:
    """Return the norm of the difference, as a share of the expected norm."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@torch.no_grad()
def _randomize(model: FasterRCNN) -> None:
    """Let no scale be 1 and no bias or mean 0."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.ndim == 1:
            tensor.uniform_(0.2, 0.8)


@torch.no_grad()
def _spread_outputs(model: FasterRCNN, batch: Batch, params: Params) -> None:
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.update({name: output.std()})
        )
        for name in SPREAD
    ]
    losses_of(model.eval(), batch, params.train)
    for hook in hooks:
        hook.remove()
    for name, spread in SPREAD.items():
        model.get_submodule(name).weight *= spread / seen[name]
