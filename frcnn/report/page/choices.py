"""Which pictures the page shows, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from frcnn.boxes import area
from frcnn.evaluation.picture_errors import ap_lost, telling_errors
from frcnn.evaluation.suspicious import Suspicion
from frcnn.params import Render
from frcnn.report.page.outcomes import Outcomes
from frcnn.report.renders import random_order

GROUPS = {
    "worst": "worst",
    "alarm": "confident false alarms",
    "missed": "missed objects",
    "near": "near misses",
    "suspicious": "suspicious annotations",
    "random": "random",
    "matrix": "more of the matrix",
}
MOST_PICTURES, EACH = 96, 8  # on the page, of a group
SIZES = {"large": 96.0**2, "medium": 32.0**2, "small": 0.0}  # least area in pixels of the picture, as COCO has it
LEAST_LOSS = 1e-9  # of the mAP


@dataclass
class Chosen:
    """Images in the order in which they were chosen, each with its groups and the reasons."""

    reasons: dict[int, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, group: str, image: int, reason: str) -> None:
        """Add a reason; an image that is new needs room."""
        if image in self.reasons or len(self.reasons) < MOST_PICTURES:
            self.reasons.setdefault(image, []).append((group, reason))


def choose(outcomes: Outcomes, suspicions: Sequence[Suspicion], iou_threshold: float, render: Render) -> Chosen:
    """Choose pictures for each group but `matrix`."""
    chosen, objects, detections = Chosen(), outcomes.objects, outcomes.detections
    lost = ap_lost(objects, detections, iou_threshold)
    for image in np.argsort(-lost, kind="stable")[:EACH]:
        if lost[image] > LEAST_LOSS:
            chosen.add("worst", int(image), f"its errors cost {lost[image]:.4f} mAP")
    telling, owner = telling_errors(objects, detections, iou_threshold), detections.image_index
    for group, rows, words in (
        ("alarm", telling.false_alarms, "false alarm"), ("near", telling.near_misses, "near miss")
    ):  # fmt: skip
        for row in rows[outcomes.detection_steps[rows] >= outcomes.best][:EACH]:
            chosen.add(group, int(owner[row]), f"{words}: {_name(outcomes, detections.labels[row])} "
                       f"{detections.scores[row]:.2f}")  # fmt: skip
    _choose_missed(chosen, outcomes)
    for each in suspicions[:EACH]:
        chosen.add("suspicious", each.image, f"{each.kind}: {_name(outcomes, each.label)}")
    for image in random_order(len(detections.image_ids), render.seed)[: render.images]:
        chosen.add("random", image, "random")
    return chosen


def choose_for_cells(chosen: Chosen, counts: np.ndarray, images: Mapping[str, Sequence[int]]) -> None:
    """Choose a picture for each wrong cell of the matrix that no chosen one shows, the largest cells first."""
    cells = [(row, column) for row, column in np.argwhere(counts).tolist() if row != column]
    for row, column in sorted(cells, key=lambda cell: -counts[cell]):
        of_cell = images[f"{row}-{column}"]
        if not any(image in chosen.reasons for image in of_cell):
            chosen.add("matrix", of_cell[0], "from the confusion matrix")


def _choose_missed(chosen: Chosen, outcomes: Outcomes) -> None:
    """Choose objects that are missed at the best score: the largest of each size."""
    objects = outcomes.objects
    missed = np.flatnonzero(~objects.difficult & (outcomes.object_steps < outcomes.best))
    areas = area(objects.boxes)
    missed, above = missed[np.argsort(-areas[missed], kind="stable")], np.inf
    for size, least in SIZES.items():
        for row in missed[(areas[missed] >= least) & (areas[missed] < above)][: EACH // 2]:
            chosen.add("missed", int(objects.images[row]), f"missed, {size}: {_name(outcomes, objects.labels[row])}")
        above = least


def _name(outcomes: Outcomes, label: int) -> str:
    return outcomes.names[label - 1]
