"""From anchors.h5 and pictures to batches; what a batch holds depends on seed, phase, epoch and place alone.

No random state is carried along, so a run that was interrupted goes on with the bytes of one that was not, and the
number of loading workers changes nothing.
"""

import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from frcnn.anchors.grid import feature_grid
from frcnn.anchors.label import Labels
from frcnn.anchors.targets import AnchorTargets
from frcnn.data.resizing.resample import mirror, resize
from frcnn.data.resizing.sizes import by_shape
from frcnn.data.voc.pictures import read_picture
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import Batch
from frcnn.pytorch.inference import pad_images
from frcnn.pytorch.sampling import sample_anchors
from frcnn.training.cache import PictureCache

SHUFFLE, FLIP_AND_SAMPLE = 0, 1  # streams of random numbers
POOL = 4  # batches: less padding than 5% of VOC's pixels at batch 16, and neighbours still change by chance


@dataclass(frozen=True)
class Source:
    """What batches are cut from: targets and, in the same order, the paths of the pictures; `cache` may keep these."""

    targets: AnchorTargets
    pictures: list[Path]
    params: Params
    cache: PictureCache | None = None


def plan_epoch(source: Source, indices: np.ndarray, phase: int, epoch: int) -> list[np.ndarray]:
    """Return the image indices of each batch of an epoch; every image is used once.

    Images are shuffled and, up to `POOL` batches of one orientation at a time, batched with those of about their shape,
    so that little is padded. The last batch of each orientation may be smaller; batches of one are a plain shuffle.
    """
    train = source.params.train
    rng = np.random.default_rng((train.seed, SHUFFLE, phase, epoch))
    shuffled = rng.permutation(indices)
    if train.batch_size == 1:
        return list(shuffled[:, None])
    size = source.targets.size
    upright = size[shuffled, 1] > size[shuffled, 0]
    batches = []
    for group in (shuffled[~upright], shuffled[upright]):
        batches_a_pool = min(POOL, max(1, len(group) // (POOL * train.batch_size)))  # few images: few neighbours
        for pool in _cut(group, batches_a_pool * train.batch_size):
            batches += _cut(pool[by_shape(size[pool])], train.batch_size)
    return [batches[i] for i in rng.permutation(len(batches))]


def _cut(indices: np.ndarray, length: int) -> list[np.ndarray]:
    return [indices[i : i + length] for i in range(0, len(indices), length)]


class EpochBatches(Dataset[Batch]):
    """The batches of one epoch, made on demand in a loading worker."""

    def __init__(
        self,
        source: Source,
        plan: list[np.ndarray],
        phase: int,
        epoch: int,
        augment: bool = True,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Serve the plan's batches; `augment` allows flipping.

        Of each batch only `part` is served, (rank, world) of `distributed`: every `world`-th image from `rank` on, or
        where there is none the first, which must not count. It is padded as the whole batch would be.
        """
        self.source, self.plan, self.augment, self.part = source, plan, augment, part
        self.key = (phase, epoch)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.plan)

    def __getitem__(self, step: int) -> Batch:
        """Return batch `step` of the epoch."""
        whole = self.plan[step]
        rank, world = self.part
        own = whole[rank::world] if rank < len(whole) else whole[:1]
        width, height = map(int, self.source.targets.size[whole].max(0))
        return collate([self._sample(int(index)) for index in own], self.source, (width, height))

    def _sample(self, index: int) -> "Sample":
        train = self.source.params.train
        rng = np.random.default_rng((train.seed, FLIP_AND_SAMPLE, *self.key, index))
        flip = self.augment and rng.random() < train.flip_probability
        return load_sample(self.source, index, flip, rng)


def loader(batches: EpochBatches, start: int, workers: int, pin: bool) -> DataLoader[Batch]:
    """Return an iterable over the batches from `start` on, in order."""
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(start, len(batches)),
        num_workers=workers,
        pin_memory=pin,
        generator=torch.Generator(),  # its own, so that iterating leaves the global one alone
        worker_init_fn=_ignore_signals,
        multiprocessing_context="fork" if workers and batches.source.cache else None,  # which shares the cache
    )


def _ignore_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which may reach the whole process group, to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@dataclass(frozen=True)
class Sample:
    """One image (H, W, 3) uint8 with its objects and its sampled anchors, flat over its own grid."""

    image_id: str
    image: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    anchor_index: np.ndarray
    anchor_labels: np.ndarray
    anchor_deltas: np.ndarray
    roi_keys: np.ndarray


def load_sample(source: Source, index: int, flip: bool, rng: np.random.Generator) -> Sample:
    """Read one picture, resize and flip it, and draw the anchors of its RPN minibatch."""
    labels, gt_labels = source.targets.image(index, flip)
    image = _resized(source, index)
    if flip:
        image = mirror(image)  # the same bytes as resizing the mirror image
    anchors = draw_anchors(labels, source.params, rng)
    keys = rng.random(source.params.train.post_nms_topk + len(gt_labels), np.float32)
    return Sample(source.targets.image_ids[index], image, labels.gt_boxes, gt_labels, *anchors, keys)


def _resized(source: Source, index: int) -> np.ndarray:
    """Return a resized picture (H, W, 3) uint8, from the cache where it is there already."""
    cache, targets = source.cache, source.targets
    if cache is not None and (kept := cache.get(index)) is not None:
        return kept
    path = source.pictures[index]
    picture = read_picture(path)
    if (picture.shape[1], picture.shape[0]) != tuple(targets.size_original[index]):
        raise UserError(f"{path}: not the size that anchors.h5 was made for; run `frcnn anchors` again")
    width, height = map(int, targets.size[index])
    image = resize(picture, width, height, source.params.data.interpolation)
    if cache is not None:
        cache.put(index, image)
    return image


def draw_anchors(labels: Labels, params: Params, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return index (S,), labels (S,) and deltas (S, 4) of the sampled anchors, S = rpn_batch, -1 labels fill up."""
    train = params.train
    negatives = np.flatnonzero(np.unpackbits(labels.negative_bits))
    chosen, background = sample_anchors(
        len(labels.positive_index), negatives, train.rpn_batch, train.rpn_pos_fraction, rng
    )
    index = np.zeros(train.rpn_batch, np.int64)
    kind = np.full(train.rpn_batch, -1, np.int64)
    deltas = np.zeros((train.rpn_batch, 4), np.float32)
    end = len(chosen) + len(background)
    index[: len(chosen)], index[len(chosen) : end] = labels.positive_index[chosen], background
    kind[: len(chosen)], kind[len(chosen) : end] = 1, 0
    deltas[: len(chosen)] = labels.positive_delta[chosen]
    return index, kind, deltas


def collate(samples: list[Sample], source: Source, least: tuple[int, int] = (0, 0)) -> Batch:
    """Pad samples to a common size, at least this (width, height); anchors move from their own grids to the padded."""
    images = pad_images([sample.image for sample in samples], least)
    model, anchors = source.params.model, source.params.anchors
    per_cell = len(anchors.anchor_sizes) * len(anchors.anchor_ratios)
    _, columns = feature_grid(images.shape[3], images.shape[2], model.backbone)
    index = []
    for sample in samples:
        _, own_columns = feature_grid(sample.image.shape[1], sample.image.shape[0], model.backbone)
        row, rest = np.divmod(sample.anchor_index, own_columns * per_cell)
        index.append(row * columns * per_cell + rest)
    most = max(len(sample.gt_labels) for sample in samples)
    gt_boxes = np.zeros((len(samples), most, 4), np.float32)
    gt_labels = np.zeros((len(samples), most), np.int64)
    keys = np.zeros((len(samples), source.params.train.post_nms_topk + most), np.float32)
    for i, sample in enumerate(samples):
        keys[i, : len(sample.roi_keys)] = sample.roi_keys
        gt_boxes[i, : len(sample.gt_boxes)], gt_labels[i, : len(sample.gt_labels)] = sample.gt_boxes, sample.gt_labels
    return Batch(
        images,
        [(sample.image.shape[1], sample.image.shape[0]) for sample in samples],
        torch.from_numpy(gt_boxes),
        torch.from_numpy(gt_labels),
        torch.from_numpy(np.stack(index)),
        torch.from_numpy(np.stack([sample.anchor_labels for sample in samples])),
        torch.from_numpy(np.stack([sample.anchor_deltas for sample in samples])),
        torch.from_numpy(keys),
        [sample.image_id for sample in samples],
    )
