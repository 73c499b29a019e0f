"""Objects and detections of a few crowded images, drawn by hypothesis."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from frcnn import boxes
from frcnn.evaluation.voc_ap import Objects
from tests.flat_detections import Scored

# On a busy machine drawing may take long.
ALWAYS = settings(deadline=None, max_examples=80, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
NAMES = ["a", "b"]
IMAGES = 4
# Few places, so that boxes meet: on a grid of 4 px, 8 to 20 px large.
box = st.tuples(*[st.integers(0, 4)] * 2, *[st.integers(2, 5)] * 2).map(
    lambda b: (4 * b[0], 4 * b[1], 4 * (b[0] + b[2]), 4 * (b[1] + b[3]))
)
placed = st.tuples(st.integers(0, IMAGES - 1), box, st.integers(1, 2))  # image, box, label


def objects_of(rows: list[tuple], difficult: list[bool]) -> Objects:
    return Objects(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[2] for row in rows], np.int64),
        np.array(difficult, np.bool_),
    )


def scored_of(rows: list[tuple], scores: list[float]) -> Scored:
    images, found, labels, _ = objects_of(rows, [False] * len(rows))
    return Scored(images, found, np.array(scores, np.float64), labels)


@st.composite
def truth(draw: st.DrawFn, least: int = 0, apart: bool = False) -> Objects:
    """Return objects, no two alike, the first not difficult; `apart`: none of a class overlaps another by half."""
    rows = draw(st.lists(placed, min_size=least, max_size=8, unique=True))
    if apart:
        kept: list[tuple] = []
        for row in rows:
            if all(row[::2] != other[::2] or overlap(row[1], other[1]) <= 0.5 for other in kept):
                kept.append(row)
        rows = kept
    flags = st.lists(st.sampled_from([False, False, True]), min_size=len(rows), max_size=len(rows))
    return objects_of(rows, [False, *draw(flags)][: len(rows)])


@st.composite
def scenes(draw: st.DrawFn, least: int = 0, least_found: int = 0, apart: bool = False) -> tuple[Objects, Scored]:
    """Return objects as of `truth` and detections, half of them on an object, whose scores, up to 14/16, all differ."""
    objects = draw(truth(least, apart))
    on_objects = [
        (int(image), tuple(map(int, where)), int(label))
        for image, where, label in zip(objects.images, objects.boxes, objects.labels, strict=True)
    ]
    row = placed | st.sampled_from(on_objects) if on_objects else placed
    rows = draw(st.lists(row, min_size=least_found, max_size=14))
    scores = draw(st.permutations(range(1, len(rows) + 1)))
    return objects, scored_of(rows, [score / 16 for score in scores])


def overlap(a: tuple, b: tuple) -> float:
    return float(boxes.iou(np.array([a], float), np.array([b], float))[0, 0])


def perfect(objects: Objects) -> Scored:
    """Return a detection of each object, the last with the highest score."""
    return Scored(objects.images, objects.boxes, np.linspace(0.1, 0.9, len(objects.images)), objects.labels)


def reorder(scene: tuple[Objects, Scored], order: list[int]) -> tuple[Objects, Scored]:
    """Return the scene with its images in another order."""
    objects, detections = scene
    rename = np.array(order)
    renamed = objects._replace(images=rename[objects.images])
    return renamed, detections._replace(images=rename[detections.images])
