"""Final detections: thresholds, NMS per class, the cap, and published numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.params import Detect, Params
from frcnn.pytorch.postprocessing import select_detections

ROIS = torch.tensor([[10.0, 10, 50, 50], [11, 10, 50, 50], [80, 80, 90, 90]])


def select(class_logits: torch.Tensor, **settings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return select_detections(ROIS, class_logits, torch.zeros(3, 2, 4), (100, 100), Detect(**settings), True)


def test_overlapping_boxes_of_one_class_are_thinned_those_of_two_are_not() -> None:
    one_class = torch.tensor([[0.0, 5, 0], [0, 4, 0], [9, 0, 0]])
    boxes, scores, labels = select(one_class)
    assert labels.tolist() == [1]
    assert boxes.tolist() == [[10, 10, 50, 50]]
    two_classes = torch.tensor([[0.0, 5, 0], [0, 0, 5], [9, 0, 0]])
    assert sorted(select(two_classes)[2].tolist()) == [1, 2]


def test_cap_keeps_the_best() -> None:
    logits = torch.tensor([[0.0, 5, 0], [0, 0, 4], [0, 3, 0]])
    boxes, scores, labels = select(logits, max_detections=1)
    assert (labels.tolist(), len(boxes)) == ([1], 1)
    assert len(select(logits, max_detections=None)[0]) == 3


def test_no_rois() -> None:
    found = select_detections(torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0, 2, 4), (9, 9), Detect(), True)
    assert [len(each) for each in found] == [0, 0, 0]


@pytest.mark.golden
def test_golden_detections(golden: Path, reference: Params) -> None:
    file = np.load(golden / "labels_losses_detections.npz")
    rois = torch.from_numpy(file["predict/proposals"][:, [1, 0, 3, 2]].copy()).double()
    deltas = torch.from_numpy(file["predict/deltas"]).double().view(-1, 20, 4)[..., [1, 0, 3, 2]]
    logits = torch.from_numpy(file["predict/logits"]).double()
    # The reference clips to the index of the last pixel: 799 and 599.
    found = select_detections(rois, logits, deltas, (799, 599), reference.detect, reference.model.delta_clamp)
    rows = np.column_stack([found[2], found[0][:, [1, 0, 3, 2]], found[1]])
    expected = file["predict/class_y1x1y2x2_score"]
    assert len(rows) == len(expected)
    rows, expected = (each[np.lexsort((each[:, 1], -each[:, 5], each[:, 0]))] for each in (rows, expected))
    np.testing.assert_array_equal(rows[:, 0], expected[:, 0])
    np.testing.assert_allclose(rows[:, 1:5], expected[:, 1:5], atol=1e-3)
    np.testing.assert_allclose(rows[:, 5], expected[:, 5], atol=1e-5)
