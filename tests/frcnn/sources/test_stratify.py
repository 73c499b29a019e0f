from collections import Counter

import pytest

from frcnn.sources.stratify import draw_test, group_names, join_groups

CAT, DOG, BOTH, NONE = frozenset({"cat"}), frozenset({"dog"}), frozenset({"cat", "dog"}), frozenset[str]()


def test_every_class_has_its_share() -> None:
    """Also a rare one, and the pictures that show nothing; the expected numbers are the shares."""
    shown = [CAT] * 60 + [DOG] * 10 + [BOTH] * 10 + [NONE] * 20
    drawn = draw_test([str(i) for i in range(100)], shown, 0.2, seed=1)
    counts = Counter(names for names, inside in zip(shown, drawn, strict=True) if inside)
    assert counts == {CAT: 12, DOG: 2, BOTH: 2, NONE: 4}


def test_the_seed_decides() -> None:
    groups, shown = [str(i) for i in range(50)], [CAT] * 50
    assert draw_test(groups, shown, 0.2, 1) == draw_test(groups, shown, 0.2, 1)
    assert draw_test(groups, shown, 0.2, 1) != draw_test(groups, shown, 0.2, 2)


def test_groups_stay_whole() -> None:
    groups = [f"{video}" for video in range(20) for _ in range(5)]
    drawn = draw_test(groups, [CAT, DOG] * 50, 0.2, seed=1)
    assert len(set(zip(groups, drawn, strict=True))) == 20
    assert sum(drawn) == 20


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_side_is_empty(share: float) -> None:
    assert set(draw_test(["a", "b", "c"], [CAT] * 3, share, seed=1)) == {False, True}


def test_a_class_of_one_picture_is_for_training() -> None:
    drawn = draw_test([str(i) for i in range(10)], [DOG] + [CAT] * 9, 0.2, seed=1)
    assert (drawn[0], sum(drawn)) == (False, 2)


@pytest.mark.parametrize(
    ("stems", "together", "counters"),
    [
        ([f"cam{v}_{i:03}" for v in "abcdefghij" for i in range(3)], 10, []),
        ([f"street {v} ({i})" for v in "abcdefghij" for i in range(3)], 10, []),
        ([f"IMG_{i:04}" for i in range(30)], 30, ["IMG"]),
        ([f"{i:06}" for i in range(30)], 30, [""]),
        ([f"CAT-{i}" for i in range(3)] + [f"{c}" for c in "abcdefghijklmnopqrstuvwxyz"], 29, ["CAT"]),
        ([f"{c}_jpg.rf.{i}f{c}" for c in "abcdefghij" for i in range(3)], 10, []),
    ],
    ids=[
        "videos",
        "numbers in brackets",
        "too many for a video",
        "numbers alone",
        "name of a class",
        "Roboflow's copies",
    ],
)
def test_names_of_groups(stems: list[str], together: int, counters: list[str]) -> None:
    names, found = group_names(stems, ["cat"], 0.2)
    assert len(set(names)) == together
    assert found == counters


@pytest.mark.parametrize(
    ("names", "looks", "expected"),
    [
        ([], [], []),
        (["a", "b", "c"], [0, 1, 2], ["a", "b", "c"]),
        (["v", "v", "c", "d"], [0, 1, 2, 2], ["v", "v", "c", "c"]),
        (["d", "v", "w", "v", "w", "x"], [0, 1, 2, 0, 1, 5], ["d", "d", "d", "d", "d", "x"]),
    ],
    ids=["nothing", "each its own", "two groups", "a chain of both kinds"],
)
def test_groups_of_names_and_looks(names: list[str], looks: list[int], expected: list[str]) -> None:
    assert join_groups(names, looks) == expected
