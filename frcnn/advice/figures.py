"""What params.yaml means for the objects of the training split, in figures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from frcnn.advice.coverage import best_ious, resize_objects
from frcnn.advice.start import DETECTOR, start_of
from frcnn.backbones import BACKBONES
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Params
from frcnn.training.plan import plan_epoch

THRESHOLDS = (0.5, 0.7)  # IoU: of a positive RoI, and of a positive anchor
SPANS = [0, *(2**power for power in range(3, 11)), np.inf]  # px
SHAPES = [0, 1 / 3, 2 / 3, 3 / 2, 3, np.inf]  # height / width
SHAPE_NAMES = ("below 1:3", "1:3 to 2:3", "2:3 to 3:2", "3:2 to 3:1", "above 3:1")


@dataclass(frozen=True)
class Row:
    """Some objects: their number, and the share whose best anchor reaches each of `THRESHOLDS`."""

    name: str
    objects: int
    coverage: tuple[float, ...]


@dataclass(frozen=True)
class Figures:
    """Figures of a training split; all lengths in pixels of the resized images.

    Attributes:
        images: number of them.
        total: of all objects.
        by_span: by the square root of their area.
        by_shape: by height / width.
        by_class: in the order of the classes.
        median: of the square root of the area; NaN without objects.
        cell: the stride of the finest feature map.
        below_cell: number of objects whose square root of the area is less than that.
        padding: share of a batch's pixels, in the first epoch.
        warnings: what to change, a line each.
    """

    images: int
    total: Row
    by_span: list[Row]
    by_shape: list[Row]
    by_class: list[Row]
    median: float
    cell: int
    below_cell: int
    padding: float
    warnings: list[str]


def read_training(dataset: VocDataset, params: Params, workers: int = 1) -> tuple[list[Annotation], list[str]]:
    """Return the annotations of the training split that can be read, and the names of the classes.

    Raises:
        UserError: there is no such split, or classes.txt cannot be read; where it is missing any class is known.
    """
    ids = dataset.split(params.splits.train)
    listed = (dataset.root / "classes.txt").exists()
    names = dataset.class_names if listed else dataset.annotated_class_names(ids)
    labels, convention = {name: label for label, name in enumerate(names, 1)}, params.data.box_convention
    dataset.pictures  # noqa: B018 - read once, before the threads ask for them
    with ThreadPoolExecutor(max(1, workers)) as pool:
        read = list(pool.map(lambda image_id: dataset.annotation(image_id, labels, convention)[0], ids))
    return [annotation for annotation in read if annotation is not None], names


def figures_of(annotations: Sequence[Annotation], class_names: Sequence[str], params: Params) -> Figures:
    """Return the figures of a split with at least one image."""
    objects = resize_objects(annotations, params.data)
    ious, spans = best_ious(objects, params.model.backbone, params.anchors), objects.spans
    span_bins, shape_bins = (
        np.searchsorted(edges, values, side="right") - 1
        for edges, values in ((SPANS, spans), (SHAPES, objects.sides[:, 1] / objects.sides[:, 0]))
    )
    span_names = [f"{low:g} to {high:g}" for low, high in zip(SPANS[1:-2], SPANS[2:-1], strict=True)]
    names = [f"below {SPANS[1]:g}", *span_names, f"{SPANS[-2]:g} or more"]
    median = float(np.median(spans)) if len(spans) else np.nan
    cell = min(BACKBONES[params.model.backbone].strides)
    return Figures(
        len(annotations),
        _row("all", ious),
        _without_empty_ends([_row(name, ious[span_bins == i]) for i, name in enumerate(names)]),
        [_row(name, ious[shape_bins == i]) for i, name in enumerate(SHAPE_NAMES)],
        [_row(name, ious[objects.labels == label]) for label, name in enumerate(class_names, 1)],
        median,
        cell,
        int((spans < cell).sum()),
        padding_of(objects.sizes, params),
        _warnings(median, params),
    )


def coverage_of(ious: np.ndarray) -> tuple[float, ...]:
    """Return the share of objects whose best IoU (G,) reaches each of `THRESHOLDS`; NaN without objects."""
    return tuple(float((ious >= threshold).mean()) if len(ious) else np.nan for threshold in THRESHOLDS)


def padding_of(sizes: np.ndarray, params: Params) -> float:
    """Return which share of the pixels of an epoch's batches is padding, for images of sizes (N, 2)."""
    plan = plan_epoch(sizes, params.train, np.arange(len(sizes)), 1, 0)
    divisor = params.data.size_divisor
    padded = sum(len(batch) * int((-(-sizes[batch].max(0) // divisor) * divisor).prod()) for batch in plan)
    return 1 - float(sizes.prod(1).sum()) / padded


def round_span(span: float) -> float:
    """Return an anchor's size with four binary digits: steps of 1 from 8 px on, 2 from 16, 4 from 32 and so on."""
    step = 2.0 ** max(0, int(np.floor(np.log2(max(span, 1)))) - 3)
    return max(step, step * round(span / step))


def _row(name: str, ious: np.ndarray) -> Row:
    return Row(name, len(ious), coverage_of(ious))


def _without_empty_ends(rows: list[Row]) -> list[Row]:
    filled = [index for index, row in enumerate(rows) if row.objects]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def _warnings(median: float, params: Params) -> list[str]:
    smallest = min(min(sizes) for sizes in params.anchors.anchor_sizes)
    if not median < smallest / 2:
        return []
    remedy = f"anchors.anchor_sizes: [{', '.join(f'{round_span(median * factor):g}' for factor in (0.75, 1.5, 3))}]"
    if start_of(params.model.weights) == DETECTOR:  # its anchors stay
        remedy = f"data.min_size: {round(params.data.min_size * smallest / median)}"
    return [
        f"the median object has {median:.0f} px, less than half the smallest anchor ({smallest:g} px): few have an "
        f"anchor that fits; write {remedy}"
    ]
