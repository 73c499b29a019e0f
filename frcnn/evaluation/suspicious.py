"""Annotations that may be wrong: where confident detections and objects contradict each other."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from frcnn.boxes import area
from frcnn.detections.detections import SplitDetections
from frcnn.evaluation.matching import first_of_each
from frcnn.evaluation.split_matching import best_objects, match_split
from frcnn.evaluation.tables import text_cell
from frcnn.evaluation.voc_ap import Objects

Kind = Literal["no object", "never detected", "other class"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Suspicion(NamedTuple):
    """A place to look at.

    Attributes:
        image: index.
        kind: `no object`: a confident detection, but no object touches it; `never detected`: no detection of any score
            or class touches the object; `other class`: a confident detection has another class than its object, whose
            class no confident detection there has.
        label: of the detection, or of the object that is never detected.
        score: of the detection; NaN of an object that is never detected.
        box: (4,) of the detection or of that object, pixels of the original picture.
        object: index of the object, -1 without.
    """

    image: int
    kind: Kind
    label: int
    score: float
    box: np.ndarray
    object: int


def suspicious(
    objects: Objects, detections: SplitDetections, score: float, iou_threshold: float = 0.5, touching_iou: float = 0.1
) -> list[Suspicion]:
    """Return what contradicts: by kind, the highest scores or the largest objects first.

    Args:
        score: from which on a detection is confident.
        iou_threshold: of a detection and an object that are at one place.
        touching_iou: of a detection and an object that touch. A difficult object counts here, but is not suspicious.
    """
    matching = match_split(objects, detections, iou_threshold)
    owners, labels, scores, boxes = detections.image_index, detections.labels, detections.scores, detections.boxes
    pairs, confident = matching.pairs, scores >= score
    _, overlap = best_objects(pairs, len(confident))
    alone = matching.order[(confident & (overlap <= touching_iou))[matching.order]]
    touched = np.zeros(len(objects.images))
    np.maximum.at(touched, pairs.object, pairs.iou)
    never = np.flatnonzero((touched <= touching_iou) & ~objects.difficult)
    never = never[np.argsort(-area(objects.boxes[never]), kind="stable")]
    at_place = confident[pairs.detection] & (pairs.iou > iou_threshold)
    agreed = objects.difficult.copy()
    agreed[pairs.object[at_place & matching.same_class]] = True
    disputes = pairs.where(at_place & ~matching.same_class & ~agreed[pairs.object])
    claims, claimed = (values[first_of_each(disputes.object)] for values in (disputes.detection, disputes.object))
    columns = (
        (owners[alone], labels[alone], scores[alone], boxes[alone], np.full(len(alone), -1)),
        (objects.images[never], objects.labels[never], np.full(len(never), np.nan), objects.boxes[never], never),
        (owners[claims], labels[claims], scores[claims], boxes[claims], claimed),
    )
    return [
        Suspicion(int(image), kind, int(label), float(value), box, int(index))
        for kind, rows in zip(KINDS, columns, strict=True)
        for image, label, value, box, index in zip(*rows, strict=True)
    ]


def suspicious_table(
    suspicions: Sequence[Suspicion], objects: Objects, image_ids: Sequence[str], class_names: Sequence[str]
) -> str:
    """Return a row for each suspicion as CSV: where it is, and the object by its number in the file, from 1."""
    first, names = np.searchsorted(objects.images, np.arange(len(image_ids))), [text_cell(name) for name in class_names]
    rows = [
        (
            text_cell(image_ids[each.image]),
            each.kind,
            each.object - first[each.image] + 1 if each.object >= 0 else None,
            names[objects.labels[each.object] - 1] if each.object >= 0 else None,
            names[each.label - 1] if each.kind != "never detected" else None,
            each.score,
            *each.box.astype(float),
        )
        for each in suspicions
    ]
    columns = ["image", "kind", "object", "annotated", "detected", "score", "x1", "y1", "x2", "y2"]
    return (
        pd.DataFrame(rows, columns=columns)
        .astype({"object": "Int64"})
        .to_csv(index=False, lineterminator="\n", float_format="%.6g")
    )
