"""Loss and mAP on the images of the training split that are held out."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from frcnn import distributed
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.pictures import read_picture
from frcnn.detections.detections import join_detections
from frcnn.detector.interfaces import Learner
from frcnn.detector.run import detect_pictures
from frcnn.evaluation.score_curves import best_f1
from frcnn.evaluation.voc_ap import evaluate_arrays, join_objects, mean_ap
from frcnn.sources.stratify import group_names
from frcnn.training.batches import EpochBatches, Source, loader

IOU_THRESHOLD = 0.5
VALIDATION = (0, 0)  # in the place of phase and epoch
SPLITS = ("train", "trainval", "val", "valid", "test")  # pictures with such a name and a number are no video


def split_held_out(
    image_ids: Sequence[str], class_names: Sequence[str], fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices (sorted) of the images to train on and of those held out for validation.

    Frames of one video, and copies of one picture, stay together as far as their names tell (`group_names`).
    """
    wanted = math.ceil(len(image_ids) * fraction)
    names, _ = group_names(image_ids, [*class_names, *SPLITS], fraction)
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(name, []).append(index)
    held_out: list[int] = []
    for index in np.random.default_rng((seed, 2)).permutation(len(names)) if wanted else []:
        group = groups.pop(names[index], [])
        if not held_out or len(held_out) + len(group) <= wanted:
            held_out += group
    chosen = np.isin(np.arange(len(names)), held_out)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def validate(
    learner: Learner,
    source: Source,
    indices: np.ndarray,
    annotations: Sequence[Annotation],
    workers: int,
    on_image: Callable[[], None],
) -> dict[str, float]:
    """Return val_loss (mean per image, no flips, same samples at every call), val_mAP (11-point), val_F1, val_score.

    At an IoU of 0.5. The last two are `frcnn.evaluation.score_curves.best_f1`; without a detection there is no score.
    Several processes share the work and return the same.

    Args:
        annotations: of the images of `indices`, in that order, with difficult objects.
        on_image: called after every image, and after every batch of those whose loss is computed.
    """
    settings = source.params.train.validation
    with learner.evaluating() as detector:
        loss = _mean_loss(learner, source, indices, workers, on_image)
        own = []
        for item in distributed.share(annotations):
            own += detect_pictures(detector, [read_picture(item.path)], settings)
            on_image()
    ids = [annotation.image_id for annotation in annotations]
    detections = join_detections(ids, learner.config.class_names, distributed.in_order(own))
    results = evaluate_arrays(join_objects(annotations), detections, IOU_THRESHOLD)
    best = {f"val_{name}": value for name, value in best_f1(results).items() if name in ("F1", "score")}
    return {"val_loss": round(loss, 6), "val_mAP": round(mean_ap(results, "voc07"), 6), **best}


def _mean_loss(
    learner: Learner, source: Source, indices: np.ndarray, workers: int, on_batch: Callable[[], None]
) -> float:
    size = source.params.train.batch_size
    plan = [indices[i : i + size] for i in range(0, len(indices), size)]
    batches = EpochBatches(source, distributed.share(plan), VALIDATION, learner.to_inputs)
    totals = []
    for inputs in loader(batches, 0, workers, pin=False):
        totals.append(float(sum(loss.sum() for loss in learner.losses(inputs).values())))
        on_batch()
    return sum(distributed.in_order(totals)) / len(indices)
