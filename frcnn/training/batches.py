"""From anchors.h5 and pictures to batches; what a batch holds depends on seed, phase, epoch and place alone.

No random state is carried along, so a run that was interrupted goes on with the bytes of one that was not, and the
number of loading workers changes nothing.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from frcnn.anchors.grid import feature_maps, move_to_batch
from frcnn.anchors.label import label_image
from frcnn.anchors.targets import AnchorTargets
from frcnn.arrays import size_of
from frcnn.data.augmentation import Key, augment, draw_flip
from frcnn.data.resizing.resample import mirror, resize
from frcnn.data.resizing.sizes import box_limit
from frcnn.data.voc.pictures import read_picture
from frcnn.detector.batch import Batch, pad_images
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.training.minibatch import sample_anchors
from frcnn.training.picture_cache import PictureCache

LONGEST_TMPDIR = 70  # bytes; torch's loading processes pass memory over a socket there, whose name has at most 103


@dataclass(frozen=True)
class Source:
    """What batches are cut from: targets and, in the same order, the paths of the pictures; `cache` may keep these."""

    targets: AnchorTargets
    pictures: list[Path]
    params: Params
    cache: PictureCache | None = None


class EpochBatches(Dataset[Any]):
    """The batches of one epoch, made on demand in a loading process."""

    def __init__(
        self,
        source: Source,
        plan: list[np.ndarray],
        key: tuple[int, int],
        to_inputs: Callable[[Batch], Any],
        share: tuple[int, int] = (0, 1),
    ) -> None:
        """Serve the plan's batches.

        Args:
            key: (phase, epoch), which decide augmentation and samples; phase 0 is validation, without augmentation.
            to_inputs: applied to each batch in the process that makes it.
            share: (rank, world) of `distributed`: of each batch every `world`-th image from `rank` on, or where there
                is none the first, which must not count. It is padded as the whole batch would be.
        """
        self.source, self.plan, self.key, self.to_inputs, self.share = source, plan, key, to_inputs, share

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.plan)

    def __getitem__(self, step: int) -> Any:
        """Return the inputs for batch `step` of the epoch."""
        whole = self.plan[step]
        rank, world = self.share
        own = whole[rank::world] if rank < len(whole) else whole[:1]
        width, height = map(int, self.source.targets.size[whole].max(0))
        samples = [load_sample(self.source, int(index), (*self.key, int(index))) for index in own]
        return self.to_inputs(collate(samples, self.source, (width, height)))


def loader(batches: EpochBatches, start: int, workers: int, pin: bool) -> DataLoader[Any]:
    """Return an iterable over the inputs of the batches from `start` on, in order.

    Raises:
        UserError: loading processes would wait for each other for ever, as the name of the folder for temporary files
            is too long for their sockets.
    """
    if workers and sys.platform != "win32" and len(os.fsencode(tempfile.gettempdir())) > LONGEST_TMPDIR:
        remedy = "set TMPDIR to a shorter path, or use --workers 0"
        raise UserError(f"{tempfile.gettempdir()}: too long a path for loading processes; {remedy}")
    if workers and batches.source.cache and sys.platform != "linux":  # macOS forks, but not safely
        raise UserError("--cache: only on Linux do loading processes share memory; add --workers 0, or drop --cache")
    return DataLoader(
        batches,
        batch_size=None,
        collate_fn=_unchanged,
        sampler=range(start, len(batches)),
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # its own, so that iterating leaves the global one alone
        worker_init_fn=_ignore_signals,
        multiprocessing_context="fork" if workers and batches.source.cache else None,  # which shares the cache
    )


def _unchanged(inputs: Any) -> Any:
    """Return the inputs as they are; by default NumPy arrays would become tensors."""
    return inputs


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which may reach the whole process group, to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@dataclass(frozen=True)
class Sample:
    """One image (H, W, 3) uint8 with its objects and its sampled anchors, flat over its own feature maps."""

    image_id: str
    image: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    anchor_index: np.ndarray
    anchor_labels: np.ndarray
    anchor_deltas: np.ndarray
    roi_priorities: np.ndarray


def load_sample(source: Source, index: int, key: Key) -> Sample:
    """Read one picture, resize, mirror and augment it, and sample the anchors of its RPN minibatch.

    The labels of the anchors are those of anchors.h5, or made here where the objects moved.
    """
    params = source.params
    flip, rng = draw_flip(params.train, key)
    labels, gt_labels = source.targets.image(index, flip)
    image = _resized(source, index)
    if flip:
        image = mirror(image)  # the same bytes as resizing the mirror image
    width, height = map(int, source.targets.size_original[index])
    image, moved = augment(image, labels.gt_boxes, box_limit((width, height), params.data), params, key)
    if moved:
        gt_boxes, kept = moved
        labels = label_image(gt_boxes, size_of(image), params.model.backbone, params.anchors)
        gt_labels = gt_labels[kept]
    anchors = sample_anchors(labels, params.train.rpn, rng)
    priorities = rng.random(params.train.rpn.post_nms_topk + len(gt_labels), np.float32)
    return Sample(source.targets.image_ids[index], image, labels.gt_boxes, gt_labels, *anchors, priorities)


def _resized(source: Source, index: int) -> np.ndarray:
    """Return a resized picture (H, W, 3) uint8, from the cache where it is there already."""
    cache, targets = source.cache, source.targets
    if cache is not None and (kept := cache.get(index)) is not None:
        return kept
    path = source.pictures[index]
    picture = read_picture(path)
    if size_of(picture) != tuple(targets.size_original[index]):
        raise UserError(f"{path}: not the size that anchors.h5 was made for; run `frcnn anchors` again")
    width, height = map(int, targets.size[index])
    data = source.params.data
    image = resize(picture, width, height, data.interpolation, data.antialias)
    if cache is not None:
        cache.put(index, image)
    return image


def collate(samples: list[Sample], source: Source, least: tuple[int, int] = (0, 0)) -> Batch:
    """Pad samples to a common size, at least this (width, height); anchors move from their own maps to the padded."""
    params = source.params
    images = pad_images([sample.image for sample in samples], least, params.data.size_divisor)
    sizes = [size_of(sample.image) for sample in samples]
    batch, *own = (
        feature_maps(size, params.model.backbone, params.anchors)
        for size in [(images.shape[2], images.shape[1]), *sizes]
    )
    index = [
        move_to_batch(sample.anchor_index, maps, batch, params.anchors.per_cell)
        for sample, maps in zip(samples, own, strict=True)
    ]
    return Batch(
        images,
        sizes,
        _pad([sample.gt_boxes for sample in samples]),
        _pad([sample.gt_labels for sample in samples]),
        np.stack(index),
        np.stack([sample.anchor_labels for sample in samples]),
        np.stack([sample.anchor_deltas for sample in samples]),
        _pad([sample.roi_priorities for sample in samples]),
        [sample.image_id for sample in samples],
    )


def _pad(rows: list[np.ndarray]) -> np.ndarray:
    """Stack arrays of different lengths (n, ...) as (N, most, ...), padded with 0."""
    padded = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded
