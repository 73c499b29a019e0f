"""What is held out for validation, and which epoch is the best."""

import math

import numpy as np
import pytest

from frcnn.training.log import best_epoch, validation_of, validations_since_best
from frcnn.training.validation import split_held_out

NUMBERS = [f"{i:06}" for i in range(100)]


@pytest.mark.parametrize(
    "ids",
    [NUMBERS, [f"cat_{i}" for i in range(100)], [f"train_{i}" for i in range(95)] + [f"val_{i}" for i in range(5)]],
    ids=["numbers", "a class", "splits"],
)
@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.001, 1), (0.25, 25)])
def test_names_without_groups_are_drawn_one_by_one(ids: list[str], fraction: float, count: int) -> None:
    training, held_out = split_held_out(ids, ["cat"], fraction, seed=1)
    order = np.random.default_rng((1, 2)).permutation(100)
    assert held_out.tolist() == sorted(order[:count])
    assert training.tolist() == sorted(order[count:])


@pytest.mark.parametrize("seed", range(5))
def test_frames_and_copies_stay_together(seed: int) -> None:
    ids = [f"video{i // 5}_{i % 5}" for i in range(50)] + [f"p{i // 3}.rf.{i:032x}" for i in range(30)]
    groups = [name.split("_")[0].split(".")[0] for name in ids]
    training, held_out = split_held_out(ids, [], 0.2, seed)
    assert sorted([*training, *held_out]) == list(range(80))
    assert 12 <= len(held_out) <= 16
    assert not {groups[i] for i in training} & {groups[i] for i in held_out}


def test_a_group_that_is_larger_than_the_share_is_held_out_alone() -> None:
    training, held_out = split_held_out([f"a.rf.{i}" for i in range(4)] + [f"b.rf.{i}" for i in range(4)], [], 0.1, 1)
    assert (len(training), len(held_out)) == (4, 4)


def test_the_first_of_equal_scores_is_best_and_none_counts_less_than_any() -> None:
    rows: list[dict] = [{"epoch": 1}]
    assert (best_epoch(rows), validations_since_best(rows)) == (None, 0)
    found = []
    for epoch, score in enumerate([math.nan, math.nan, 0.5, math.nan, 0.4, 0.9, 0.9, 0.8], 1):
        rows += [{"epoch": epoch}, {"epoch": epoch, "val_mAP": score}]
        found.append((best_epoch(rows), validations_since_best(rows)))
    assert found == [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (6, 0), (6, 1), (6, 2)]


def test_what_validation_found_is_that_of_the_epoch() -> None:
    rows: list[dict] = [
        {"epoch": 1, "loss": 3.0},
        {"epoch": 1, "loss": 2.0, "val_loss": 1.5, "val_mAP": 0.5, "val_F1": 0.0},
        {"epoch": 2, "loss": 1.0, "val_loss": 1.0, "val_mAP": math.nan, "val_F1": 0.25, "val_score": 0.75},
        {"epoch": 3, "loss": 0.5},
    ]
    assert validation_of(rows, 1) == {"loss": 1.5, "mAP": 0.5, "F1": 0.0}
    assert validation_of(rows, 2) == {"loss": 1.0, "F1": 0.25, "score": 0.75}
    assert validation_of(rows, 3) == validation_of(rows, None) == {}
