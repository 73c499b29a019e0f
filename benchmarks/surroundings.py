"""Time what surrounds the network: loading a sample, labelling anchors, average precision, start-up."""

import subprocess
from itertools import count

import numpy as np
import torch

from benchmarks.inputs import CLASS_NAMES, make_source, random_detections
from benchmarks.setup import Setup, Tables
from benchmarks.timing import MILLISECONDS, interleave, measurement, one_thread
from frcnn.anchors.build import label_annotation
from frcnn.evaluation.voc_ap import evaluate_arrays
from frcnn.training.batches import load_sample

CPU = torch.device("cpu")
DETECTIONS_AN_IMAGE = 100


def loading(setup: Setup) -> Tables:
    """Time one training sample: read, decode, resize, flip every other one, draw its anchors; on one core."""
    source = make_source(setup.annotations, setup.params, len(setup.annotations))
    rng, turn = np.random.default_rng(0), count()

    def load() -> None:
        index = next(turn)
        load_sample(source, index % len(source.pictures), bool(index % 2), rng)

    with one_thread():
        seconds = interleave({"load": load}, setup.repeats, CPU)["load"]
    file_size = float(np.mean([path.stat().st_size for path in source.pictures[: len(setup.annotations)]]))
    rows = [
        measurement("one sample", "ms", [second * MILLISECONDS for second in seconds]),
        measurement("samples per second and core", "1/s", [1 / second for second in seconds]),
        measurement("JPEG file", "kB", [file_size / 1000]),
    ]
    return {"loading a training sample": rows}


def anchors(setup: Setup) -> Tables:
    """Time the labels of all anchors of an image and its mirror image, on one core."""
    turn = count()

    def label() -> None:
        label_annotation(setup.annotations[next(turn) % len(setup.annotations)], setup.params)

    seconds = interleave({"label": label}, setup.repeats, CPU)["label"]
    rows = [
        measurement("one image and its mirror image", "ms", [second * MILLISECONDS for second in seconds]),
        measurement("images per second and core", "1/s", [1 / second for second in seconds]),
    ]
    return {"labelling anchors": rows}


def evaluation(setup: Setup) -> Tables:
    """Time average precision over drawn objects and detections."""
    objects, detections = random_detections(setup.evaluated_images, DETECTIONS_AN_IMAGE)
    threshold = setup.params.evaluate.iou_threshold

    def evaluate() -> None:
        evaluate_arrays(objects, detections, CLASS_NAMES, threshold)

    seconds = interleave({"evaluate": evaluate}, setup.repeats, CPU)["evaluate"]
    rows = [
        measurement("all classes", "s", seconds),
        measurement("images", "", [setup.evaluated_images]),
        measurement("detections an image", "", [DETECTIONS_AN_IMAGE]),
    ]
    return {"average precision": rows}


def startup(setup: Setup) -> Tables:
    """Time `frcnn --help` as a process of its own."""

    def show_help() -> None:
        subprocess.run(setup.help_command, check=True, stdout=subprocess.DEVNULL)

    seconds = interleave({"help": show_help}, setup.repeats, CPU)["help"]
    return {"start-up": [measurement("frcnn --help", "s", seconds)]}
