"""Loss and mAP on the part of the training split that is held out."""

import math
from collections.abc import Sequence

import numpy as np

from frcnn import distributed
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.pictures import read_picture
from frcnn.evaluation.voc_ap import Scored, evaluate_arrays, join_objects, mean_ap
from frcnn.params import Detect
from frcnn.pytorch.inference import detect_images
from frcnn.pytorch.learner import Learner
from frcnn.training.batches import EpochBatches, Source, loader

IOU_THRESHOLD = 0.5


def split_held_out(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (sorted) of the images to train on and of those held out for validation."""
    order = np.random.default_rng((seed, 2)).permutation(count)
    held_out = math.ceil(count * fraction) if fraction else 0
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def validate(
    learner: Learner, source: Source, indices: np.ndarray, annotations: Sequence[Annotation], workers: int
) -> dict[str, float]:
    """Return val_loss (mean an image, no flipping, same samples at every call) and val_mAP (11-point, IoU 0.5).

    Several processes share the work and return the same.

    Args:
        annotations: of the images of `indices`, in that order, with difficult objects.
    """
    settings = Detect()
    with learner.evaluating() as detector:
        loss = _mean_loss(learner, source, indices, workers)
        own = [
            detect_images(detector, [read_picture(item.path)], settings)[0] for item in distributed.share(annotations)
        ]
    found = distributed.in_order(own)
    scored = Scored(
        np.repeat(np.arange(len(found)), [len(each["scores"]) for each in found]),
        *(np.concatenate([each[key] for each in found]) for key in ("boxes", "scores", "labels")),
    )
    results = evaluate_arrays(join_objects(annotations), scored, learner.config.class_names, IOU_THRESHOLD)
    return {"val_loss": round(loss, 6), "val_mAP": round(mean_ap(results, "voc07"), 6)}


def _mean_loss(learner: Learner, source: Source, indices: np.ndarray, workers: int) -> float:
    size = source.params.train.batch_size
    plan = [indices[i : i + size] for i in range(0, len(indices), size)]
    batches = EpochBatches(source, distributed.share(plan), phase=0, epoch=0, augment=False)
    totals = [
        float(sum(loss.sum() for loss in learner.losses(batch).values()))
        for batch in loader(batches, 0, workers, pin=False)
    ]
    return sum(distributed.in_order(totals)) / len(indices)
