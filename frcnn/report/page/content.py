"""All that the page shows, gathered from detections, annotations, logs and metrics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.errors import UserError
from frcnn.evaluation.bootstrap import bootstrap
from frcnn.evaluation.confusion import Confusion, confusion
from frcnn.evaluation.error_types import TYPES, ErrorTypes, error_types
from frcnn.evaluation.score_curves import ScoreCurve, mean_score_curve, score_curve, threshold_below
from frcnn.evaluation.suspicious import Suspicion, suspicious
from frcnn.evaluation.voc_ap import ClassResult, Objects, evaluate_arrays, mean_ap, objects_of
from frcnn.messages import first_line
from frcnn.params import Params
from frcnn.report.page.against import Comparison
from frcnn.report.page.charts import Chart, charts_of
from frcnn.report.page.choices import Chosen, choose, choose_for_cells
from frcnn.report.page.class_table import Row, class_rows, mean_row
from frcnn.report.page.gallery import Picture, draw_pictures
from frcnn.report.page.matrix import Matrix, images_of_cells, matrix_of
from frcnn.report.page.origin import Origin
from frcnn.report.page.outcomes import Outcomes, outcomes_of
from frcnn.report.page.thresholds import Thresholds, thresholds_of

DRAWS = 1000  # of the bootstrap
MEANINGS = {
    "classification": "right place, wrong class",
    "localization": "right class, box not good enough",
    "both": "wrong class, and box not good enough",
    "duplicate": "object found by a better detection already",
    "background": "no object there",
    "missed": "no detection explains the object",
}


@dataclass(frozen=True)
class ErrorKind:
    """A type of errors: how many there are, what they cost, and that as a share of the largest cost."""

    title: str
    meaning: str
    count: int
    cost: float
    share: float


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery: groups, cells of the matrix, classes on it, and why it is there."""

    picture: Picture
    groups: list[str]
    cells: list[str]
    labels: list[int]
    reasons: list[str]
    alt: str


@dataclass(frozen=True)
class Pair:
    """A picture with the detections of before and of now, and how much less mAP its errors cost."""

    before: Picture
    now: Picture
    gain: float


@dataclass(frozen=True)
class Known:
    """What files say beside the detections: the origin of the detector, logs of training phases, COCO's measures."""

    origin: Origin
    logs: Mapping[int, pd.DataFrame]
    coco: Mapping[str, float]


@dataclass(frozen=True)
class Measured:
    """Everything that is computed from objects and detections, before there are pictures.

    Attributes:
        results, objects, detections: of the split.
        curves: rates over the score, of each class.
        mean: those of all classes together.
        draws: AP of the bootstrap (draws, C, 3).
        thresholds: which the page offers.
        defined: whether there is a score of the best F1, which is then the threshold at first.
        rows: a row for each class.
        total: the row of all together.
        charts: the curves.
        confusion: at the threshold at first.
        errors: at every score.
        suspicions: at that threshold.
        outcomes: what became of each detection.
    """

    results: list[ClassResult]
    objects: Objects
    detections: SplitDetections
    curves: list[ScoreCurve]
    mean: ScoreCurve
    draws: np.ndarray
    thresholds: Thresholds
    defined: bool
    rows: list[Row]
    total: Row
    charts: list[Chart]
    confusion: Confusion
    errors: ErrorTypes
    suspicions: list[Suspicion]
    outcomes: Outcomes

    @property
    def score(self) -> float:
        """The threshold at first."""
        return float(self.thresholds.scores[self.thresholds.best])


@dataclass(frozen=True)
class Content:
    """What the template reads."""

    measured: Measured
    params: Params
    known: Known
    pictures: list[Shown]
    matrix: Matrix
    comparison: Comparison | None
    better: list[Pair]
    worse: list[Pair]


def measure(annotations: Sequence[Annotation], detections: SplitDetections, iou_threshold: float) -> Measured:
    """Compute all measures of the detections; the annotations are of their images, in their order."""
    objects = objects_of(annotations, detections)
    results = evaluate_arrays(objects, detections, iou_threshold)
    curves, mean = [score_curve(result) for result in results], mean_score_curve(results)
    draws = bootstrap(objects, detections, iou_threshold, DRAWS)
    defined = mean.best_f1 > 0
    thresholds = thresholds_of(results, threshold_below(mean.best_score) if defined else np.nan)
    rows, score = class_rows(results, curves, draws, thresholds), float(thresholds.scores[thresholds.best])
    return Measured(
        results,
        objects,
        detections,
        curves,
        mean,
        draws,
        thresholds,
        defined,
        rows,
        mean_row(rows, results, mean, draws),
        charts_of(results, curves, mean),
        confusion(objects, detections, score, iou_threshold),
        error_types(objects, detections, iou_threshold),
        suspicious(objects, detections, score, iou_threshold),
        outcomes_of(objects, detections, thresholds, iou_threshold),
    )


def gather(
    measured: Measured,
    annotations: Sequence[Annotation],
    params: Params,
    known: Known,
    comparison: Comparison | None,
) -> Content:
    """Choose and draw the pictures; return all that the page shows.

    Args:
        measured: from `measure`.
        annotations: of the images.
        params: of the project.
        known: from files.
        comparison: with another run.

    Raises:
        UserError: a picture cannot be read.
    """
    threshold = params.evaluate.iou_threshold
    chosen = choose(measured.outcomes, measured.suspicions, threshold, params.render)
    cells = images_of_cells(measured.confusion, measured.outcomes)
    choose_for_cells(chosen, measured.confusion.counts, cells)
    shown = _shown(measured.outcomes, annotations, chosen, cells)
    names = measured.detections.class_names
    matrix = matrix_of(measured.confusion.counts, names, cells, list(chosen.reasons))
    pairs = partial(_pairs, measured, annotations, comparison, threshold)
    better, worse = (pairs(images) for images in ((comparison.better, comparison.worse) if comparison else ([], [])))
    return Content(measured, params, known, shown, matrix, comparison, better, worse)


def read_coco(metrics: Path, measured: Measured) -> dict[str, float] | None:
    """Return COCO's measures in summary.json, nothing without them; None if the file is of other detections.

    Raises:
        UserError: the file is not as `frcnn evaluate` writes it.
    """
    path = metrics / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        counts = tuple(summary[key] for key in ("images", "detections"))
        known = summary.get("mAP_area")
        coco = {str(name): float(value) for name, value in summary.get("COCO", {}).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not as `frcnn evaluate` writes it ({first_line(error)}); run it again") from error
    own = (len(measured.detections.image_ids), len(measured.detections.scores))
    ap = mean_ap(measured.results, "area")
    return coco if counts == own and (known is None or known == round(ap, 6)) else None


def error_kinds(measured: Measured) -> list[ErrorKind]:
    """Return the types of errors, the most costly first."""
    errors = measured.errors
    counts = [*np.bincount(errors.types[errors.types >= 0], minlength=len(TYPES))[:-1], errors.missed.sum()]
    largest = max([1e-9, *(errors.cost[name] for name in TYPES if errors.cost[name] == errors.cost[name])])
    kinds = [
        ErrorKind(name, MEANINGS[name], int(count), cost, max(0.0, cost / largest) if cost == cost else 0.0)
        for name, count, cost in zip(TYPES, counts, map(errors.cost.__getitem__, TYPES), strict=True)
    ]
    return sorted(kinds, key=lambda kind: -kind.share)


def _shown(
    outcomes: Outcomes, annotations: Sequence[Annotation], chosen: Chosen, cells: Mapping[str, Sequence[int]]
) -> list[Shown]:
    of_image: dict[int, list[str]] = {}
    for key, images in cells.items():
        for image in dict.fromkeys(images):
            of_image.setdefault(image, []).append(key)
    shown = []
    for picture in draw_pictures(outcomes, annotations, chosen.reasons):
        pairs = chosen.reasons[picture.index]
        labels = sorted({box.label for box in picture.boxes})
        objects = sum(box.state in ("object", "difficult") for box in picture.boxes)
        counts = f"objects: {objects}, detections of any score: {len(picture.boxes) - objects}"
        shown.append(
            Shown(
                picture,
                list(dict.fromkeys(group for group, _ in pairs)),
                of_image.get(picture.index, []),
                labels,
                [reason for _, reason in pairs],
                f"Picture {picture.name}, {counts}",
            )
        )
    return shown


def _pairs(
    measured: Measured,
    annotations: Sequence[Annotation],
    comparison: Comparison | None,
    threshold: float,
    images: Sequence[int],
) -> list[Pair]:
    if comparison is None or comparison.detections is None:
        return []
    before = outcomes_of(measured.objects, comparison.detections, measured.thresholds, threshold)
    both = (draw_pictures(outcomes, annotations, images) for outcomes in (before, measured.outcomes))
    return [Pair(old, new, float(comparison.gains[new.index])) for old, new in zip(*both, strict=True)]
