"""Propose parameters that fit a dataset and this machine; nothing is written."""

import math
from collections.abc import Sequence

import numpy as np

from frcnn.advice.anchor_search import fit_anchors, scale_sizes
from frcnn.advice.convention import count_at_borders
from frcnn.advice.coverage import best_ious, resize_objects
from frcnn.advice.figures import coverage_of, read_training
from frcnn.advice.machine import Machine, this_machine
from frcnn.advice.proposals import Advice, Proposal
from frcnn.advice.start import DETECTOR, PRETRAINED, RANDOM, start_of
from frcnn.backbones import BACKBONES
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Anchors, Data, Params
from frcnn.params.augment import Augment
from frcnn.params.training import Postprocessing
from frcnn.sources.source import is_voc

LEAST_OBJECTS = 100  # with fewer, anchors would fit these and not those to come
LEAST_GAIN = 0.1  # of the coverages at IoU 0.5 and 0.7 together, by other anchors
# Of the coverage at IoU 0.5, what twice the pixels must gain, and what any larger image must gain beside.
PER_DOUBLING, BESIDE = 0.08, 0.05
LARGER = (1.25, 1.5, 2.0, 3.0)  # times data.min_size
LARGEST, MOST_ENLARGED = 1600, 2  # px; times the pictures' own short side
MANY_THIN = 0.05  # share of the objects that are smaller than any proposal may be
COARSE = 4  # cells: where nine objects of ten are as large, enlarging a picture gains nothing
# Pictures seen in both phases that suit a start (docs/reproduction.md); less than half of them is too little.
SEEN = {DETECTOR: 4_000, PRETRAINED: 12_000, RANDOM: 16_000}
MOST_EPOCHS = 100
# Of one's own pictures (docs/reproduction.md): the share held out, the fewest that bear it, and from how many epochs on
# light augmentation helps.
HELD_OUT, LEAST_TO_HOLD_OUT, LONG = 0.2, 100, 24
SHARE_OF_MEMORY = 0.7
# GiB in float32 of torch, network and optimizer, and of each megapixel of a batch: what steps of 1 and 3 images took.
MEMORY = {"vgg": (2.5, 2.0), "resnet": (1.2, 2.0), "resnet50": (1.2, 2.0), "mobilenet_v3_large": (1.0, 0.6)}
ON_CUDA, OF_NORMS = 4, 8  # images per batch
MOBILENET_SIZES = (32, 64, 128, 256, 512)  # px, as torchvision's detector was trained with


def propose(dataset: VocDataset, params: Params, workers: int = 1) -> list[Proposal]:
    """Return other values of parameters that fit the training split and this machine better, each with the reason.

    Args:
        workers: threads that read the annotations.

    Raises:
        UserError: there is no such split, or classes.txt cannot be read.
    """
    return advise(dataset, params, this_machine(), workers).proposals


def advise(dataset: VocDataset, params: Params, machine: Machine, workers: int = 1) -> Advice:
    """Return the proposals of `propose` for a machine, with what else is to be said; errors as there."""
    advice = Advice(params)
    if not machine.cuda:
        _propose_backbone(advice)
    evidence = count_at_borders(dataset)
    if evidence.convention and "continuous" in (evidence.convention, params.data.box_convention):  # others count from 1
        advice.propose({"data.box_convention": evidence.convention}, str(evidence))
    annotations, names = read_training(dataset, advice.params, workers)
    advice.annotations, advice.class_names = annotations, names
    if not annotations:
        return advice
    start = start_of(params.model.weights)
    _propose_sizes(advice, annotations, start)
    _propose_batch(advice, machine, annotations)
    own = not (params.download.source == "synthetic" or is_voc(params.download.source))
    if own:
        _propose_validation(advice, len(annotations))
    held_out = math.ceil(advice.params.train.validation.fraction * len(annotations))
    _propose_epochs(advice, len(annotations) - held_out, start)
    if own:
        _propose_augmentation(advice)
    return advice


def _propose_backbone(advice: Advice) -> None:
    """Propose a smaller network for a machine without CUDA, unless a file of weights decides."""
    model, backbone = advice.params.model, BACKBONES[advice.params.model.backbone]
    reason = f"no CUDA device here, and {model.backbone} computes several times as much"
    if model.weights.startswith("coco") and backbone.body == "resnet50":
        small = {"model.backbone": "mobilenet-v3-fpn", "model.weights": "coco"}
        advice.propose(small | {"anchors.anchor_sizes": MOBILENET_SIZES}, reason)
    elif model.weights in ("none", "caffe", "imagenet") and (backbone.family == "vgg" or backbone.bottleneck):
        scratch = model.weights == "none"
        small = {"model.backbone": "resnet18", "model.weights": "none" if scratch else "imagenet"}
        norm = {"model.norm": "trained" if scratch else model.norm, "model.freeze_at": min(model.freeze_at, 4)}
        advice.propose(small | norm | {"model.dropout": 0, "model.stride_in_1x1": False}, reason)


def _propose_sizes(advice: Advice, annotations: Sequence[Annotation], start: str) -> None:
    """Propose the size of the images and, unless a detector was trained with them, the anchors."""
    params = advice.params
    objects = resize_objects(annotations, params.data)
    if (count := len(objects.boxes)) < LEAST_OBJECTS:
        advice.remarks.append(
            f"{count} objects are too few to fit anchors to (at least {LEAST_OBJECTS}): data.min_size and anchors stay"
        )
        return
    backbone, fixed = params.model.backbone, start == DETECTOR
    if fixed:
        advice.remarks.append("anchors stay: the detector that training starts from was trained with them")
    if fixed or not _propose_smaller(advice, annotations):
        fitted = params.anchors if fixed else fit_anchors(objects, backbone, params.anchors)
        _propose_larger(advice, annotations, fitted, fixed)
    if not fixed:
        _propose_anchors(advice, annotations)
    sides, least = resize_objects(annotations, advice.params.data).sides, advice.params.model.proposals.min_size
    if (thin := float((sides.min(1) < least).mean())) > MANY_THIN:
        advice.propose({"model.proposals.min_size": 0}, f"{thin:.0%} of the objects have a side below {least:g} px")


def _propose_smaller(advice: Advice, annotations: Sequence[Annotation]) -> bool:
    """Propose the pictures' own size where they are enlarged without need; return whether it is."""
    own = round(float(np.median([min(each.width, each.height) for each in annotations])))
    present, cell = advice.params.data.min_size, min(BACKBONES[advice.params.model.backbone].strides)
    data = _resized(advice.params.data, own)
    spans = resize_objects(annotations, data).spans
    if present <= 1.25 * own or np.quantile(spans, 0.1) < COARSE * cell:
        return False
    reason = (
        f"the pictures' own size: enlarging them adds nothing for objects as large as these (nine of ten have "
        f"{np.quantile(spans, 0.1):.0f} px or more), and a step costs {(present / own) ** 2:.1f} times as much"
    )
    advice.propose({"data.min_size": data.min_size, "data.max_size": data.max_size}, reason)
    return True


def _propose_larger(advice: Advice, annotations: Sequence[Annotation], anchors: Anchors, fixed: bool) -> None:
    """Propose larger images where so many more objects are covered that it is worth the time.

    Args:
        anchors: at the present size; at others in proportion, unless `fixed`.
    """
    params = advice.params
    present, own = params.data.min_size, np.median([min(each.width, each.height) for each in annotations])

    def measure(size: int) -> tuple[float, tuple[float, ...], float]:
        objects = resize_objects(annotations, _resized(params.data, size))
        scaled = anchors if fixed else scale_sizes(anchors, size / present)
        coverage, pixels = coverage_of(best_ious(objects, params.model.backbone, scaled)), objects.sizes.prod(1).mean()
        return coverage[0] - PER_DOUBLING * math.log2(pixels), coverage, pixels

    sizes = [round(own), *(round(present * factor / 32) * 32 for factor in LARGER)]
    allowed = [size for size in sizes if present < size <= min(LARGEST, MOST_ENLARGED * own)]
    value, coverage, pixels = measure(present)
    better = max(allowed, key=lambda size: measure(size)[0], default=present)
    new_value, new_coverage, new_pixels = measure(better)
    if new_value <= value + BESIDE:
        return
    data = _resized(params.data, better)
    reason = f"{_change(coverage, new_coverage)}; a step costs {new_pixels / pixels:.1f} times as much"
    advice.propose({"data.min_size": data.min_size, "data.max_size": data.max_size}, reason)


def _propose_anchors(advice: Advice, annotations: Sequence[Annotation]) -> None:
    params = advice.params
    objects, backbone = resize_objects(annotations, params.data), params.model.backbone
    fitted = fit_anchors(objects, backbone, params.anchors)
    before, after = (coverage_of(best_ious(objects, backbone, anchors)) for anchors in (params.anchors, fitted))
    if sum(after) < sum(before) + LEAST_GAIN:
        return
    values = {"anchors.anchor_sizes": fitted.anchor_sizes, "anchors.anchor_ratios": fitted.anchor_ratios}
    cells = f"{fitted.per_cell} anchors per cell (now {params.anchors.per_cell})"
    advice.propose(values, f"{_change(before, after)}; {cells}")


def _propose_batch(advice: Advice, machine: Machine, annotations: Sequence[Annotation]) -> None:
    """Propose a batch that fits into memory, with several images where the device or the norms want them."""
    params = advice.params
    pixels = float(np.quantile(resize_objects(annotations, params.data).sizes.prod(1), 0.95))
    backbone = BACKBONES[params.model.backbone]
    fixed, per_megapixel = MEMORY[backbone.body or backbone.family]
    per_image = per_megapixel * pixels / 1e6
    fitting = max(1, int((SHARE_OF_MEMORY * machine.gibibytes - fixed) / per_image))
    present = params.train.batch_size
    most, limit = min(
        (fitting, f"{machine.gibibytes:.0f} GiB of memory, and an image takes about {per_image:.1f}"),
        (len(annotations), "no more pictures than that"),
    )
    wanted, reason = present, limit
    if machine.cuda and present < ON_CUDA:
        wanted, reason = ON_CUDA, "a CUDA device takes several images in little more time than one"
    if params.model.norm == "trained" and backbone.family != "vgg" and present < OF_NORMS:
        wanted, reason = OF_NORMS, "batch norms that are trained need the statistics of several images"
    if min(wanted, most) != present:
        values = {
            "train.batch_size": min(wanted, most),
            "train.base_batch_size": params.train.base_batch_size or present,
        }
        advice.propose(values, f"{reason if most >= wanted else limit}; learning rates scale with it")


def _propose_validation(advice: Advice, images: int) -> None:
    """Propose to hold a part out where there are enough pictures, and none where a part would measure nothing."""
    params = advice.params
    if images < LEAST_TO_HOLD_OUT:
        none = {"train.validation.fraction": 0, "train.validation.keep": "last", "train.validation.patience": None}
        advice.propose(none, f"a part of {images} pictures is too few to choose an epoch by")
        return
    if params.train.validation.fraction:
        return
    part = {"train.validation.fraction": HELD_OUT, "train.validation.keep": "best"}
    advice.propose(part, "the mAP of pictures that are held out shows overfitting, and the best epoch is kept")
    same = {f"train.validation.{name}": getattr(params.detect, name) for name in Postprocessing.model_fields}
    advice.propose(same, "as in `detect`")


def _propose_augmentation(advice: Advice) -> None:
    """Propose light augmentation where each picture is seen often."""
    params = advice.params
    epochs = params.train_phase1.epochs + params.train_phase2.epochs
    if params.augment == Augment() and epochs >= LONG:
        advice.propose({"augment.preset": "light"}, f"each picture is seen {epochs} times")


def _propose_epochs(advice: Advice, images: int, start: str) -> None:
    """Propose more epochs where few pictures make few steps."""
    first, second = (advice.params.phase(number).epochs for number in (1, 2))
    seen, wanted = images * (first + second), SEEN[start]
    epochs = min(MOST_EPOCHS, math.ceil(wanted / images))
    if 2 * seen >= wanted or epochs <= first + second:
        return
    share = max(1, round(epochs * second / (first + second)))
    limit = f" (at most {MOST_EPOCHS} epochs)" if epochs == MOST_EPOCHS else ""
    reason = f"{images} pictures in {first + second} epochs are {seen:,} seen; from {start} {wanted:,} are usual{limit}"
    advice.propose({"train_phase1.epochs": epochs - share, "train_phase2.epochs": share}, reason)


def _resized(data: Data, min_size: int) -> Data:
    """Return `data` with another min_size, and max_size in proportion."""
    limit = data.max_size and round(data.max_size * min_size / data.min_size)
    return data.model_copy(update={"min_size": min_size, "max_size": limit})


def _change(before: tuple[float, ...], after: tuple[float, ...]) -> str:
    old, new = (" / ".join(f"{share:.1%}" for share in shares) for shares in (before, after))
    return f"coverage at IoU 0.5 / 0.7: {old} -> {new}"
