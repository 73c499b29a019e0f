"""The confusion matrix as the page shows it: cells with shares of their row and the pictures that they lead to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frcnn.evaluation.confusion import BACKGROUND, Confusion
from frcnn.report.page.outcomes import Outcomes

MOST_CLASSES = 40  # in the matrix: those with the most confusions


@dataclass(frozen=True)
class Cell:
    """A cell: its share of the row, and of the row's largest cell; key is `ROW-COLUMN`, picture an index or None."""

    key: str
    count: int
    share: float
    shade: float
    picture: int | None


@dataclass(frozen=True)
class Matrix:
    """The names of its rows, which are those of its columns, its cells, and the number of classes left out."""

    names: list[str]
    rows: list[list[Cell]]
    hidden: int


def images_of_cells(events: Confusion, outcomes: Outcomes) -> dict[str, list[int]]:
    """Return the images of each cell's events, the highest scores first, then the largest missed objects."""
    with_detection = events.detections >= 0
    images = np.where(
        with_detection,
        np.append(outcomes.detections.image_index, -1)[events.detections],
        np.append(outcomes.objects.images, -1)[events.objects],
    )
    sides = outcomes.objects.boxes[:, 2:] - outcomes.objects.boxes[:, :2]
    importance = np.where(
        with_detection,
        np.append(outcomes.detections.scores, 0)[events.detections],
        np.append(sides.prod(1), 0)[events.objects],
    )
    cells: dict[str, list[int]] = {}
    for event in np.argsort(-importance, kind="stable"):
        cells.setdefault(f"{events.truth[event]}-{events.detected[event]}", []).append(int(images[event]))
    return cells


def matrix_of(
    counts: np.ndarray, class_names: Sequence[str], images: dict[str, list[int]], shown: Sequence[int]
) -> Matrix:
    """Return the matrix.

    Args:
        counts: (C + 1, C + 1).
        class_names: C names.
        images: see `images_of_cells`.
        shown: images that the page shows.
    """
    wrong = counts - np.diag(np.diag(counts))
    confusions = (wrong.sum(0) + wrong.sum(1))[:-1]
    kept = sorted(np.argsort(-confusions, kind="stable")[:MOST_CLASSES].tolist())
    names, indices, places = [*class_names, BACKGROUND], [*kept, len(class_names)], set(shown)
    rows = []
    for row in indices:
        total, cells = max(int(counts[row].sum()), 1), []
        for column in indices:
            key, count = f"{row}-{column}", int(counts[row, column])
            picture = next((image for image in images.get(key, []) if image in places), None)
            shade = count / max(int(counts[row].max()), 1)
            cells.append(Cell(key, count, count / total, shade, picture))
        rows.append(cells)
    return Matrix([names[i] for i in indices], rows, len(class_names) - len(kept))
