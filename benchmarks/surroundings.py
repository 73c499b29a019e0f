"""Time what surrounds the network: loading a sample, labeling anchors, average precision, start-up."""

import subprocess
from itertools import count

import numpy as np

from benchmarks.inputs import make_source, random_detections
from benchmarks.measure import Tables, interleave, measurement, milliseconds, one_thread
from benchmarks.setup import Setup
from frcnn.anchors.label import label_annotation
from frcnn.evaluation.voc_ap import evaluate_arrays
from frcnn.training.batches import load_sample

DETECTIONS_PER_IMAGE = 100


def loading(setup: Setup) -> Tables:
    """Time one training sample: read, decode, resize, flip every other one, sample its anchors; on one core."""
    source = make_source(setup.annotations, setup.params, len(setup.annotations))
    rng, turn = np.random.default_rng(0), count()

    def load() -> None:
        index = next(turn)
        load_sample(source, index % len(source.pictures), bool(index % 2), rng)

    with one_thread():
        seconds = interleave({"load": load}, setup.repeats)["load"]
    file_size = float(np.mean([path.stat().st_size for path in source.pictures[: len(setup.annotations)]]))
    rows = [
        milliseconds("one sample", seconds),
        measurement("samples per second and core", "1/s", [1 / second for second in seconds]),
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
        measurement("images per second and core", "1/s", [1 / second for second in seconds]),
    ]
    return {"labeling anchors": rows}


def evaluation(setup: Setup) -> Tables:
    """Time average precision over random objects and detections."""
    objects, detections = random_detections(setup.evaluated_images, DETECTIONS_PER_IMAGE)
    threshold = setup.params.evaluate.iou_threshold

    def evaluate() -> None:
        evaluate_arrays(objects, detections, threshold)

    seconds = interleave({"evaluate": evaluate}, setup.repeats)["evaluate"]
    rows = [
        measurement("all classes", "s", seconds),
        measurement("images", "", [setup.evaluated_images]),
        measurement("detections per image", "", [DETECTIONS_PER_IMAGE]),
    ]
    return {"average precision": rows}


def startup(setup: Setup) -> Tables:
    """Time `frcnn --help` as a process of its own."""

    def show_help() -> None:
        subprocess.run(setup.help_command, check=True, stdout=subprocess.DEVNULL)

    seconds = interleave({"help": show_help}, setup.repeats)["help"]
    return {"start-up": [measurement("frcnn --help", "s", seconds)]}
