"""Two sets of results side by side: another folder's detections, or the metrics that Git has of a revision."""

import io
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from frcnn.detections.detections import SplitDetections, join_detections
from frcnn.detections.hdf5 import check_agreement, read_detections
from frcnn.errors import UserError
from frcnn.evaluation.bootstrap import bootstrap, interval
from frcnn.evaluation.picture_errors import ap_lost
from frcnn.evaluation.tables import name_in_cell
from frcnn.evaluation.voc_ap import RULES, ClassResult, Objects, evaluate_arrays, mean_ap
from frcnn.report.page.class_table import class_mean

DETECTIONS, CLASSES = "data/detections.h5", "metrics/ap_per_class.csv"
PICTURES = 6  # that got better, and that got worse
LEAST_CHANGE = 1e-9  # of the mAP


@dataclass(frozen=True)
class Difference:
    """AP (area) of a class, or their mean, before and now; the interval is of the difference, None without pairs."""

    name: str
    before: float
    now: float
    interval: tuple[float, float] | None = None

    @property
    def change(self) -> float:
        """How much higher it is now."""
        return self.now - self.before

    @property
    def certain(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


@dataclass(frozen=True)
class Comparison:
    """What changed.

    Attributes:
        name: what it is compared with.
        classes: a difference for each class, and the mean, last.
        detections: of the other run on the same images, in their order; None if only its metrics are known.
        better, worse: images whose errors cost less or more mAP than before, most changed first.
        gains: (N,) how much less mAP each image costs.
    """

    name: str
    classes: list[Difference]
    detections: SplitDetections | None = None
    better: list[int] = field(default_factory=list)
    worse: list[int] = field(default_factory=list)
    gains: np.ndarray = field(default_factory=lambda: np.zeros(0))


def compare_folder(
    folder: Path,
    objects: Objects,
    detections: SplitDetections,
    iou_threshold: float,
    draws: np.ndarray,
) -> Comparison:
    """Compare detections with those of another project's folder, picture by picture.

    Args:
        folder: the other project.
        objects: of the images of `detections`.
        detections: of now.
        iou_threshold: a detection finds an object if their IoU is greater.
        draws: AP of `detections` as `bootstrap` returns it.

    Raises:
        UserError: it has no detections, or they are not of these images and classes.
    """
    path = folder / DETECTIONS
    other = read_detections(path)
    check_agreement(path, other, detections.split, detections.class_names, detections.image_ids)
    index = {image_id: i for i, image_id in enumerate(other.image_ids)}
    images = [other.of_image(index[image_id]) for image_id in detections.image_ids]
    other = join_detections(detections.image_ids, detections.class_names, images, detections.split, other.provenance)
    draws = (draws - bootstrap(objects, other, iou_threshold))[:, :, RULES.index("area")]  # of the same pictures
    before, now = (evaluate_arrays(objects, each, iou_threshold) for each in (other, detections))
    gains = ap_lost(objects, other, iou_threshold) - ap_lost(objects, detections, iou_threshold)
    order = np.argsort(-gains, kind="stable")
    return Comparison(
        str(folder),
        _differences(before, now, draws),
        other,
        [int(i) for i in order[:PICTURES] if gains[i] > LEAST_CHANGE],
        [int(i) for i in order[::-1][:PICTURES] if gains[i] < -LEAST_CHANGE],
        gains,
    )


def compare_revision(revision: str, results: Sequence[ClassResult]) -> Comparison:
    """Compare results with the metrics of a Git revision, which has no detections.

    Raises:
        UserError: no folder and no revision of this name, or one without metrics.
    """
    commit = _git(
        ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"],
        f"--against {revision}: no folder, and no revision of a Git repository here; name one of them",
    ).strip()
    text = _git(
        ["show", f"{commit}:./{CLASSES}"],
        f"--against {revision}: that revision has no {CLASSES} here; name another, or the folder of a project",
    )
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        ap = dict(zip(map(name_in_cell, table["class"]), pd.to_numeric(table["AP_area"]).tolist(), strict=True))
    except (ValueError, KeyError) as error:
        raise UserError(f"--against {revision}: {CLASSES} cannot be read ({error}); name another revision") from error
    known = [value for value in ap.values() if value == value]
    classes = [Difference(each.name, ap.get(each.name, np.nan), each.ap["area"]) for each in results]
    mean = Difference("Mean", float(np.mean(known)) if known else np.nan, mean_ap(results, "area"))
    return Comparison(f"{revision} ({commit[:10]})", [*classes, mean])


def _differences(before: Sequence[ClassResult], now: Sequence[ClassResult], draws: np.ndarray) -> list[Difference]:
    """Return differences with intervals from `draws`, (draws, C) differences of AP."""
    lows, highs = interval(draws)
    classes = [
        Difference(new.name, old.ap["area"], new.ap["area"], (float(low), float(high)))
        for old, new, low, high in zip(before, now, lows, highs, strict=True)
    ]
    low, high = interval(class_mean(draws))
    return [*classes, Difference("Mean", mean_ap(before, "area"), mean_ap(now, "area"), (float(low), float(high)))]


def _git(arguments: Sequence[str], problem: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError) as error:
        raise UserError(problem) from error
    return done.stdout
