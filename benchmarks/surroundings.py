"""Time what surrounds the network: loading a sample, labeling anchors, average precision, start-up."""

import subprocess
import sys
from itertools import count

import numpy as np

from benchmarks.inputs import Setup, make_source, random_detections
from benchmarks.measure import Tables, interleave, measurement, milliseconds, one_thread, rate
from frcnn.anchors.label import label_annotation
from frcnn.evaluation.voc_ap import evaluate_arrays
from frcnn.training.batches import load_sample

DETECTIONS_PER_IMAGE = 100
HELP = [sys.executable, "-c", "from stages.cli import main; main()", "--help"]


def loading(setup: Setup) -> Tables:
    """Time one training sample: read, decode, resize, flip every other one, sample its anchors; on one core."""
    source = make_source(setup.annotations, setup.params, len(setup.annotations))
    rng, turn = np.random.default_rng(0), count()

    def load() -> None:
        index = next(turn)
        load_sample(source, index % len(source.pictures), bool(index % 2), rng)

    with one_thread():
        seconds = interleave({"load": load}, setup.repeats)["load"]
    file_size = float(np.mean([path.stat().st_size for path in source.pictures]))
    rows = [
        milliseconds("one sample", seconds),
        rate("samples per second and core", "1/s", 1, seconds),
        measurement("JPEG file", "kB", [file_size / 1000]),
    ]
    return {"loading a training sample": rows}


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
