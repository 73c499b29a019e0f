"""The same detector in torch and in TensorFlow: the same random weights, the same batch of two images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import torch
from networks import change, losses_of

from frcnn.anchors.label import label_image
from frcnn.detector.batch import Batch
from frcnn.detector.config import detector_config
from frcnn.keras.faster_rcnn import FasterRCNN as KerasFasterRCNN
from frcnn.keras.inputs import Inputs, batch_inputs
from frcnn.keras.weights import load_arrays
from frcnn.params import Params
from frcnn.pytorch import inputs as torch_side
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.training.batches import Sample, Source, collate
from frcnn.training.minibatch import sample_anchors

SIZES = [(128, 96), (90, 110)]  # width, height; padded to 128 x 110, for VGG and ResNet a different grid
OBJECTS = [[(10, 8, 70, 64), (60, 25, 120, 90), (5, 50, 50, 90)], [(20, 30, 75, 100)]]
# Standard deviations of the outputs: scores that differ, boxes that move, classes told apart.
SPREAD = {"rpn.objectness": 2.0, "rpn.deltas": 0.2, "predictor.classes": 2.0, "predictor.deltas": 1.0}


@dataclass(frozen=True)
class Twins:
    """Both networks and what both are given; `start` are the weights that tests may have changed."""

    params: Params
    torch: FasterRCNN
    keras: KerasFasterRCNN
    start: dict[str, torch.Tensor]
    batch: Batch
    inputs: Inputs
    torch_inputs: torch_side.Inputs

    def reset(self) -> None:
        """Give both the weights that they started with."""
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


def relative_error(found: tf.Tensor | np.ndarray, expected: torch.Tensor | np.ndarray) -> float:
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
