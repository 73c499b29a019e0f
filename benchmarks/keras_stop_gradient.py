"""What a gradient through the RoIs' delta targets does: train the demo's network with TensorFlow, with it and without.

    python -m benchmarks.keras_stop_gradient --out docs

Targets of the second stage are computed from proposals, so they depend on the RPN's deltas. The library stops that
gradient. `targets not stopped` lets it through, as a published implementation did before it trained well; the RoIs that
enter the pooling are constants in both. Its author believed in another cure, too, a stop around the indicator of the
smooth L1's branch; the last line of the output compares gradients with and without that.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot
from PIL import Image

from frcnn import boxes
from frcnn.data.resizing.sizes import box_scale
from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.detections import join_detections
from frcnn.detector.batch import pad_images
from frcnn.detector.config import LOSSES
from frcnn.detector.run import detect_pictures, resize_picture
from frcnn.evaluation.voc_ap import evaluate, mean_ap
from frcnn.keras import rpn, sampling
from frcnn.keras.inputs import image_inputs
from frcnn.keras.learner import KerasLearner
from frcnn.params import Detect, Params, RPNTraining, load_params
from frcnn.sources.synthetic import draw_dataset
from frcnn.training.batches import EpochBatches
from frcnn.training.log import NonFiniteLoss
from frcnn.training.loop import Job, train_phase
from frcnn.training.setup import Inputs, Setup, set_up
from stages.anchors import run as anchors_stage

import tensorflow as tf  # isort: skip - after torchvision, which loads what crashes after TensorFlow

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ["train.framework=tensorflow", "train_phase1.epochs=4"]
OPTIMIZERS = {
    "AdamW": ["train_phase1.learning_rate=0.002"],
    "SGD": ["train.optimizer.name=sgd", "train.optimizer.weight_decay=0.0005", "train_phase1.learning_rate=0.01"],
}
VARIANTS = ("stopped", "targets not stopped")
LOG_STEPS = 10
COLORS, STYLES = ("#1f77b4", "#d62728"), ("-", "--", ":")
COLUMNS = ("optimizer", "seed", "variant", "step", *LOSSES, "loss")


class _NothingStopped:
    """TensorFlow, except that stop_gradient stops nothing."""

    def __getattr__(self, name: str) -> Any:
        return tf.identity if name == "stop_gradient" else getattr(tf, name)


def main() -> None:
    """Train every variant, print the table, write keras-stop-gradient.csv and .png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--images", type=int, default=320, help="pictures to train on, and a third as many to test")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    out, images = options.out, options.images
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_dataset(folder / "dataset", train_images=images, val_images=1, test_images=images // 3, seed=1, workers=1)
        for optimizer, seed, variant in product(OPTIMIZERS, options.seeds, VARIANTS):
            changes = [*CHANGES, *OPTIMIZERS[optimizer], f"train.seed={seed}"]
            params = load_params(Path("demo"), changes)
            rows += train(folder, params, {"optimizer": optimizer, "seed": str(seed), "variant": variant})
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.to_csv(out / "keras-stop-gradient.csv", index=False)
    plot(table, out / "keras-stop-gradient.png")
    print("smooth L1's gradient is the same, bit by bit, with a stop around its indicator:", indicator_is_constant())


def train(folder: Path, params: Params, about: dict[str, str]) -> list[dict[str, Any]]:
    """Train one variant, print its figures and return its losses, every `LOG_STEPS` steps."""
    anchors_stage(Path("demo"), None, folder / "dataset", folder / "anchors.h5", workers=1)
    setup = set_up(params, 1, Inputs(folder / "dataset", folder / "anchors.h5", None), "cpu")
    job = Job(
        1, params.train_phase1, setup.source, setup.fingerprint, folder / f"{'-'.join(about.values())}.pt",
        log_steps=LOG_STEPS,
    )  # fmt: skip
    with targets_stopped(about["variant"] == "stopped"):
        learner = setup.learner()
        assert isinstance(learner, KerasLearner)
        before = leak(learner, setup)
        try:
            rows = train_phase(learner, job, lambda report: None, lambda: False, lambda text: None)
        except NonFiniteLoss as error:
            print(*about.values(), error, sep=", ", flush=True)
            return []
        after = leak(learner, setup)
    found = score(learner, folder / "dataset"), recall(learner, folder / "dataset")
    print(
        f"{', '.join(about.values())}: mAP {found[0]:.3f}, recall of the proposals {found[1]:.3f}; "
        f"RoI losses' gradient over the RPN's own, in its box layer: {before:.3g} at first, {after:.3g} at last",
        flush=True,
    )
    return [about | {name: row[name] for name in ("step", *LOSSES, "loss")} for row in rows]


@contextmanager
def targets_stopped(stopped: bool) -> Iterator[None]:
    """Let the gradient of the block's networks pass proposals and targets, unless `stopped`."""
    if not stopped:
        rpn.tf = sampling.tf = _NothingStopped()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        rpn.tf = sampling.tf = tf  # type: ignore[attr-defined]


def leak(learner: KerasLearner, setup: Setup) -> float:
    """Return the norm of the RoI losses' gradient to the RPN's box layer over that of its own loss, in one batch."""
    inputs = EpochBatches(setup.source, [np.arange(8)], (1, 0), learner.to_inputs)[0]
    weight = learner.model.rpn.deltas.weight.value
    with tf.GradientTape(persistent=True) as tape:
        losses = learner.model.losses(inputs, learner.train, training=False)
        of_rois = tf.reduce_sum(losses["loss_roi_cls"] + losses["loss_roi_box"])
        own = tf.reduce_sum(losses["loss_rpn_box"])
    foreign = tape.gradient(of_rois, weight, unconnected_gradients="zero")
    return float(tf.norm(foreign) / tf.norm(tape.gradient(own, weight)))


def score(learner: KerasLearner, dataset: Path) -> float:
    """Return the mAP (11-point, IoU 0.5) on the test pictures."""
    annotations = VocDataset(dataset).annotations("test", "voc")
    with learner.evaluating() as detector:
        pictures = [np.asarray(Image.open(item.path).convert("RGB")) for item in annotations]
        found = [detect_pictures(detector, [picture], Detect(post_nms_topk=50))[0] for picture in pictures]
    ids = [annotation.image_id for annotation in annotations]
    return mean_ap(evaluate(annotations, join_detections(ids, learner.config.class_names, found), 0.5), "voc07")


def recall(learner: KerasLearner, dataset: Path) -> float:
    """Return the share of the test pictures' objects that some of 200 proposals covers with an IoU of 0.5."""
    model, covered = learner.model, []
    for item in VocDataset(dataset).annotations("test", "voc"):
        picture = resize_picture(np.asarray(Image.open(item.path).convert("RGB")), model.config.data)
        size = picture.shape[1], picture.shape[0]
        inputs = image_inputs(pad_images([picture]), [size], model.config)
        proposals, real = model._propose(
            model._extract(inputs, False), inputs, RPNTraining(pre_nms_topk=400, post_nms_topk=200)
        )
        scale = box_scale((item.width, item.height), model.config.data)
        overlaps = boxes.iou(tf.boolean_mask(proposals, real).numpy(), item.boxes * scale)
        covered.append(overlaps.max(0, initial=0) >= 0.5)
    return float(np.concatenate(covered).mean())


def indicator_is_constant() -> bool:
    """Tell whether smooth L1 by an indicator that multiplies has the same gradient with a stop around it."""
    x = tf.constant(np.linspace(-3, 3, 4001, dtype=np.float32))

    def gradient(stop: Any) -> bytes:
        with tf.GradientTape() as tape:
            tape.watch(x)
            near = stop(tf.cast(tf.abs(x) < 1, tf.float32))
            loss = tf.reduce_sum(near * 0.5 * x * x + (1 - near) * (tf.abs(x) - 0.5))
        return bytes(tape.gradient(loss, x).numpy())

    return gradient(tf.stop_gradient) == gradient(tf.identity)


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw the RPN's and the RoIs' box losses and the sum of all, by optimizer; a line's style is its seed."""
    matplotlib.use("Agg")
    names = ("loss_rpn_box", "loss_roi_box", "loss")
    seeds = sorted(set(table.seed))
    figure, axes = pyplot.subplots(len(OPTIMIZERS), len(names), figsize=(11, 5), sharex=True, squeeze=False)
    for line, optimizer in zip(axes, OPTIMIZERS, strict=True):
        for axis, name in zip(line, names, strict=True):
            for (variant, seed), own in table[table.optimizer == optimizer].groupby(["variant", "seed"], sort=False):
                style, color = STYLES[seeds.index(seed) % len(STYLES)], COLORS[VARIANTS.index(variant)]
                axis.plot(own.step, own[name], style, color=color, label=f"{variant}, seed {seed}")
            axis.set_title(f"{optimizer}: {name}", fontsize=9)
            axis.set_yscale("log")
    figure.supxlabel("step", x=0.85, fontsize=9)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower left", ncols=2 * len(seeds), fontsize=8)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
