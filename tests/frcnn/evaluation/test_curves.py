from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.colors import PALETTE
from frcnn.evaluation.curves import draw_curves, thin_curve
from frcnn.evaluation.voc_ap import ClassResult, average_precision, precision_recall


def result_of(name: str, verdict: np.ndarray, objects: int) -> ClassResult:
    recalls, precisions = precision_recall(verdict, objects)
    value = average_precision(recalls, precisions, "area") if objects else np.nan
    ap = {"voc07": value, "area": value, "reference": value}
    scores = np.linspace(1, 0, len(verdict))
    return ClassResult(name, objects, len(verdict), int(verdict.sum()), ap, recalls, precisions, scores)


def random_result(name: str, count: int) -> ClassResult:
    rng = np.random.default_rng(count)
    return result_of(name, (rng.random(count) < np.linspace(1, 0.2, count)).astype(np.int8), max(count, 1))


@pytest.mark.parametrize("count", [0, 1, 5, 200, 201, 5000])
def test_thinned_curve_keeps_its_area(count: int) -> None:
    result = random_result("a", count)
    kept = thin_curve(result)
    assert len(kept) <= 200
    assert np.all(np.diff(kept) > 0)
    if count:
        assert (kept[0], kept[-1]) == (0, count - 1)
        thinned = average_precision(result.recalls[kept], result.precisions[kept], "area")
        assert thinned == pytest.approx(result.ap["area"], abs=0.01)


def test_too_many_corners_are_thinned() -> None:
    verdict = np.ones(100_000, np.int8)
    verdict[np.cumsum(np.arange(1, 400))] = 0  # ever rarer mistakes: no corner but the end
    verdict = verdict[::-1]  # ever more frequent: a corner at each
    result = result_of("a", verdict, 100_000)
    assert len(thin_curve(result, points=50)) <= 50


@pytest.mark.parametrize("classes", [0, 1, 10, 20, 60])
def test_picture_is_drawn_and_the_same_each_time(tmp_path: Path, classes: int) -> None:
    results = [random_result(f"class {i}", 100 + i) for i in range(classes)]
    results.append(result_of("no objects", np.zeros(3, np.int8), 0))
    for name in ("a.png", "b.png"):
        draw_curves(tmp_path / name, results, 0.5)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert min(image.size) > 600
        colors = image.convert("RGB").resize((200, 150)).getcolors(1 << 20)
        colored = sum(count for count, (r, g, b) in colors if max(r, g, b) - min(r, g, b) > 30)
    assert (colored > 0) == (classes > 0)


@pytest.mark.parametrize("name", ["кошка", "飞机", "a$b$_{", "_hidden", "x" * 200, ""])
@pytest.mark.filterwarnings("error")
def test_any_class_name_is_drawn(tmp_path: Path, name: str) -> None:
    draw_curves(tmp_path / "c.png", [random_result(name, 30)], 0.5)


@pytest.mark.parametrize(
    ("first", "second", "equal"), [("кошка", "мышка", False), ("\U0010fff0", "class 1", True)], ids=ascii
)
def test_names_are_legible(tmp_path: Path, first: str, second: str, equal: bool) -> None:
    for name in (first, second):
        draw_curves(tmp_path / f"{ascii(name)}.png", [random_result(name, 30)], 0.5)
    assert (
        (tmp_path / f"{ascii(first)}.png").read_bytes() == (tmp_path / f"{ascii(second)}.png").read_bytes()
    ) == equal


def test_class_without_detections_is_in_the_legend(tmp_path: Path) -> None:
    draw_curves(tmp_path / "c.png", [result_of("a", np.zeros(0, np.int8), 4)], 0.5)
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.parametrize(("verdict", "drawn"), [([1], True), ([0, 1], True), ([0], False)])
def test_curve_of_one_point_is_seen(tmp_path: Path, verdict: list[int], drawn: bool) -> None:
    """One of four objects is found by the last detection, or by none."""
    draw_curves(tmp_path / "c.png", [result_of("a", np.array(verdict, np.int8), 4)], 0.5)
    with Image.open(tmp_path / "c.png") as image:
        axes = np.asarray(image.convert("RGB").crop((0, 0, image.width // 2, image.height)))
    assert (np.count_nonzero(np.all(axes == PALETTE[0], axis=2)) > 10) == drawn
