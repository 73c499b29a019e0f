"""Time a training step: reads the request of `frcnn.advice.timing` from stdin, answers with a JSON object on stdout."""

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from frcnn.allocation import peak_memory
from frcnn.anchors.label import label_annotation
from frcnn.anchors.targets import join_images
from frcnn.data.voc.dataset import VocDataset
from frcnn.detector.config import detector_config
from frcnn.frameworks import choose_backend, initial_network
from frcnn.params import Params, from_dict
from frcnn.training.batches import EpochBatches, Source

REPEATS, ENOUGH = 3, 20.0  # timed steps after the first, at most, and seconds after which no other begins
MEBIBYTE = 2**20


def time_step(request: dict[str, Any]) -> dict[str, Any]:
    """Return `seconds`, `mebibytes` and `device` of a step with random weights, which it leaves as they are."""
    params = from_dict(Params, request["params"], "params")
    dataset, names = VocDataset(Path(request["dataset"])), request["classes"]
    labels = {name: label for label, name in enumerate(names, 1)}
    read = [dataset.annotation(image_id, labels, params.data.box_convention)[0] for image_id in request["images"]]
    annotations = [each for each in read if each is not None]
    targets = join_images(annotations, [label_annotation(each, params) for each in annotations], names)
    source = Source(targets, [each.path for each in annotations], params)
    backend = choose_backend(params, "auto")
    learner = backend.learner(initial_network(detector_config(names, params), params.train.seed), params.train)
    count = len(annotations)
    batches = EpochBatches(source, [np.arange(count)], (1, 0), learner.to_inputs)
    inputs, seconds = batches[0], list[float]()
    while len(seconds) <= REPEATS and sum(seconds) < ENOUGH:
        start = time.perf_counter()
        inputs = inputs if learner.cuda else batches[0]  # on CUDA other processes read the pictures meanwhile
        losses = learner.backward(inputs, count, 1, True, (params.train.seed, 1, 0, 0))
        learner.update(0.0)
        float(losses["loss_roi_box"].detach().sum())  # waits for the device
        seconds.append(time.perf_counter() - start)
    device = backend.device
    peak = torch.cuda.max_memory_allocated(device) / MEBIBYTE if learner.cuda else peak_memory()
    return {"seconds": median(seconds[1:] or seconds), "mebibytes": peak, "device": backend.description}


if __name__ == "__main__":
    print(json.dumps(time_step(json.load(sys.stdin))))
