"""What the benchmarks work on: parameters, drawn pictures as JPEG files, batches, random detections.

Sizes are (width, height). The files are 1.6 times smaller than the network's input, as VOC's 500 x 375 is to 800 x 600.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from frcnn.anchors.label import label_annotation
from frcnn.anchors.targets import join_images
from frcnn.arrays import offsets
from frcnn.data.resizing.sizes import LEAST_SIDE, resized_size
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.detector.batch import Batch
from frcnn.errors import UserError
from frcnn.evaluation.voc_ap import Objects
from frcnn.params import Data, Params
from frcnn.sources.shapes import draw_picture
from frcnn.training.batches import EpochBatches, Source

CLASS_NAMES = [f"class{label}" for label in range(1, 21)]  # as many as VOC has
PICTURES = 16  # different ones, repeated as often as needed
ENLARGEMENT = 1.6
NOISE, JPEG_QUALITY = 6, 95  # files of 89 kB at 500 x 375, about as in VOC2007: decoding time depends on it
OBJECTS_PER_IMAGE = 2.5  # of VOC2007
JITTER = 0.2  # of a box's sides, by which detections miss it at most


@dataclass(frozen=True)
class Setup:
    """What is measured, and where.

    Attributes:
        params: from `fit_params`.
        annotations: of drawn pictures.
        scratch: folder for temporary files.
        workers: processes that load pictures in training.
        rivals: "torchvision", its nearest model, and "tensorflow", our network in it, are timed, too.
        evaluated_images: number of images in the evaluation.
    """

    params: Params
    annotations: list[Annotation]
    scratch: Path
    device: torch.device
    precision: torch.dtype
    repeats: int
    workers: int
    rivals: Collection[str]
    evaluated_images: int

    @property
    def batch_size(self) -> int:
        """Images in a step."""
        return self.params.train.batch_size


def fit_params(params: Params, size: tuple[int, int], batch_size: int) -> Params:
    """Return the parameters with the network's input size and the batch size to be measured.

    Raises:
        UserError: a side is shorter than the networks take.
    """
    if min(size) < LEAST_SIDE:
        raise UserError(f"--size: no side below {LEAST_SIDE} pixels")
    validation = params.train.validation.model_copy(update={"fraction": 0.0, "keep": "last"})
    train = {"batch_size": batch_size, "grad_accum": 1, "validation": validation}
    return params.model_copy(
        update={
            "data": params.data.model_copy(update={"min_size": min(size), "max_size": max(size)}),
            "train": params.train.model_copy(update=train),
            "detect": params.detect.model_copy(update={"batch_size": batch_size}),
        }
    )


def original_size(size: tuple[int, int], data: Data) -> tuple[int, int]:
    """Return the size of a picture that is resized to `size`, near `ENLARGEMENT` times smaller."""
    short = min(size)
    for side in range(round(short / ENLARGEMENT), short + 1):
        original = (round(size[0] * side / short), round(size[1] * side / short))
        if resized_size(original, data) == size:
            return original
    raise AssertionError(f"nothing is resized to {size}, not even itself")


def draw_pictures(folder: Path, size: tuple[int, int], data: Data) -> list[Annotation]:
    """Write `PICTURES` JPEG files that become `size` when resized; return them with their objects."""
    return [_draw(folder / f"{index}.jpg", original_size(size, data), index) for index in range(PICTURES)]


def _draw(path: Path, size: tuple[int, int], index: int) -> Annotation:
    rng = np.random.default_rng(index)
    picture, shapes = draw_picture(rng)
    while not shapes:
        picture, shapes = draw_picture(rng)
    enlarged = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    noisy = (enlarged + rng.normal(0, NOISE, enlarged.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path, quality=JPEG_QUALITY)
    scale = np.array([size[0] / picture.shape[1], size[1] / picture.shape[0]] * 2)
    boxes = (np.array([shape.box for shape in shapes]) * scale).astype(np.float32)
    labels = rng.integers(1, len(CLASS_NAMES) + 1, len(boxes))
    return Annotation(path.stem, path, *size, boxes, labels, np.zeros(len(boxes), bool))


def make_source(annotations: list[Annotation], params: Params, images: int) -> Source:
    """Return the pictures with their anchor targets, repeated until there are `images` of them."""
    labeled = [label_annotation(annotation, params) for annotation in annotations]
    repeated = list(islice(cycle(annotations), images))
    targets = join_images(repeated, list(islice(cycle(labeled), images)), CLASS_NAMES)
    return Source(targets, [annotation.path for annotation in repeated], params)


def make_batch(annotations: list[Annotation], params: Params) -> Batch:
    """Return the first batch of a training on the pictures."""
    source = make_source(annotations, params, params.train.batch_size)
    batch: Batch = EpochBatches(source, [np.arange(params.train.batch_size)], (1, 0), lambda batch: batch)[0]
    return batch


def random_detections(images: int, per_image: int) -> tuple[Objects, SplitDetections]:
    """Return objects and detections on as many images as asked for; half of the detections lie near an object."""
    rng = np.random.default_rng(0)
    count, found = round(images * OBJECTS_PER_IMAGE), images * per_image
    objects = Objects(
        np.sort(rng.integers(images, size=count)),
        _random_boxes(count, rng),
        rng.integers(1, len(CLASS_NAMES) + 1, count),
        rng.random(count) < 0.05,
    )
    near = rng.integers(count, size=found // 2)
    sides = np.tile(objects.boxes[near, 2:] - objects.boxes[near, :2], 2)
    jittered = objects.boxes[near] + JITTER * sides * rng.uniform(-1, 1, (len(near), 4)).astype(np.float32)
    far = found - len(near)
    owner = np.concatenate([objects.images[near], rng.integers(images, size=far)])
    order = np.argsort(owner, kind="stable")
    boxes = np.concatenate([jittered, _random_boxes(far, rng)])
    labels = np.concatenate([objects.labels[near], rng.integers(1, len(CLASS_NAMES) + 1, far)])
    return objects, SplitDetections(
        [str(index) for index in range(images)],
        CLASS_NAMES,
        offsets(np.bincount(owner, minlength=images)),
        boxes[order],
        rng.random(found, np.float32),
        labels[order],
    )


def _random_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, 4) float32 xyxy in a picture of 500 x 375 pixels."""
    corners = rng.uniform(0, 1, (count, 2, 2)) * (450, 325)
    return np.concatenate([corners.min(1), corners.max(1) + 50], 1).astype(np.float32)
