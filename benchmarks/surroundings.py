"""Time what surrounds the network: loading a sample, labeling anchors, average precision, start-up."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import count

import numpy as np

from benchmarks.inputs import PICTURES, Setup, make_source, random_detections
from benchmarks.measure import Tables, interleave, measurement, milliseconds, one_thread, rate
from frcnn.anchors.label import label_annotation
from frcnn.data.augmentation import NUMBERS, PHOTOMETRIC
from frcnn.evaluation.voc_ap import evaluate_arrays
from frcnn.params import from_dict
from frcnn.params.augment import RECIPES, Augment
from frcnn.training.batches import load_sample

DETECTIONS_PER_IMAGE = 100
OTHERS = {"zoom_out": (1, 4), "crop": (0.3, 1), "jpeg": (30, 95)}  # ranges of what no preset has
HELP = [sys.executable, "-c", "from stages.cli import main; main()", "--help"]


def loading(setup: Setup) -> Tables:
    """Time one training sample: read, decode, resize, flip every other one, sample its anchors; on one core.

    And what augmentation adds: each transform alone with its labels if objects move, as in the preset strong.
    """
    source, turn = make_source(setup.annotations, setup.params, len(setup.annotations)), count()

    def load(augment: Augment) -> None:
        index = next(turn)
        load_sample(
            replace(source, params=setup.params.model_copy(update={"augment": augment})),
            index % PICTURES,
            (1, 0, index),
        )

    wanted = {"one sample": Augment(), **{f"preset {name}": Augment(preset=name) for name in ("light", "strong")}}
    wanted |= {name: _always(name) for name in NUMBERS}
    with one_thread():
        seconds = interleave({name: partial(load, augment) for name, augment in wanted.items()}, setup.repeats)
    file_size = float(np.mean([path.stat().st_size for path in source.pictures]))
    rows = [
        *(milliseconds(name, seconds[name]) for name in wanted),
        rate("samples per second and core", "1/s", 1, seconds["one sample"]),
        measurement("JPEG file", "kB", [file_size / 1000]),
    ]
    return {"loading a training sample": rows}


def _always(name: str) -> Augment:
    """Return the parameters of one transform that always happens."""
    ends = OTHERS.get(name) or RECIPES["strong"].get(name, (0, 0, 0))[1:]
    value = {"probability": 1, **({"range": ends} if any(ends) else {})}
    return from_dict(Augment, {"photometric" if name in PHOTOMETRIC else "geometric": {name: value}}, name)


def anchors(setup: Setup) -> Tables:
    """Time the labels of all anchors of an image and its mirror image, on one core."""
    turn = count()

    def label() -> None:
        label_annotation(setup.annotations[next(turn) % len(setup.annotations)], setup.params)

    seconds = interleave({"label": label}, setup.repeats)["label"]
    rows = [
        milliseconds("one image and its mirror image", seconds),
        rate("images per second and core", "1/s", 1, seconds),
    ]
    return {"labeling anchors": rows}


def evaluation(setup: Setup) -> Tables:
    """Time average precision over random objects and detections."""
    objects, detections = random_detections(setup.evaluated_images, DETECTIONS_PER_IMAGE)
    threshold = setup.params.evaluate.iou_threshold
    seconds = interleave({"all": lambda: evaluate_arrays(objects, detections, threshold)}, setup.repeats)["all"]
    rows = [
        measurement("all classes", "s", seconds),
        measurement("images", "", [setup.evaluated_images]),
        measurement("detections per image", "", [DETECTIONS_PER_IMAGE]),
    ]
    return {"average precision": rows}


def startup(setup: Setup) -> Tables:
    """Time `frcnn --help` as a process of its own."""
    call = {"help": lambda: subprocess.run(HELP, check=True, stdout=subprocess.DEVNULL)}
    return {"start-up": [measurement("frcnn --help", "s", interleave(call, setup.repeats)["help"])]}
