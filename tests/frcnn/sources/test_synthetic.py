from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from frcnn.data.checks import check_dataset
from frcnn.data.notes import RARE, UNTRAINED
from frcnn.data.voc.dataset import VocDataset
from frcnn.params import Params
from frcnn.sources.shapes import CLASSES, DIAMETER, draw_picture
from frcnn.sources.synthetic import draw_dataset


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_sound_dataset_with_all_splits(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    draw_dataset(tmp_path, 4, 2, 3, seed=1, on_progress=lambda *state: seen.append(state))
    report = check_dataset(tmp_path, Params())
    assert {problem.kind for problem in report.problems} <= {UNTRAINED, RARE}
    assert report.class_names == CLASSES
    assert {split: counts.images for split, counts in report.splits.items()} == {
        "train": 4,
        "val": 2,
        "trainval": 6,
        "test": 3,
    }
    dataset = VocDataset(tmp_path)
    assert dataset.split("trainval") == dataset.split("train") + dataset.split("val")
    assert seen == [(n, 9) for n in range(1, 10)]


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "a", 3, 1, 1, seed=1)
    draw_dataset(tmp_path / "b", 3, 1, 1, seed=1, workers=2)
    draw_dataset(tmp_path / "c", 3, 1, 1, seed=2)
    draw_dataset(tmp_path / "d", 2, 1, 1, seed=1)
    a, b, c, d = (content(tmp_path / name) for name in "abcd")
    assert a == b
    pictures = [name for name in d if name.startswith("JPEGImages")]
    assert all(a[name] == d[name] for name in pictures)  # a picture does not depend on how many there are
    assert not any(a[name] == c[name] for name in pictures)
    assert len({a[name] for name in pictures}) == len(pictures)


def test_what_is_drawn_is_what_is_read(tmp_path: Path) -> None:
    draw_dataset(tmp_path, 3, 1, 1, seed=5)
    for index, annotation in enumerate(VocDataset(tmp_path).annotations("train", "voc")):
        _, shapes = draw_picture(np.random.default_rng([5, 0, index]))
        np.testing.assert_array_equal(annotation.boxes, [shape.box for shape in shapes])
        assert [CLASSES[label - 1] for label in annotation.labels] == [shape.name for shape in shapes]


@pytest.fixture(scope="module")
def drawn() -> list:
    return [draw_picture(np.random.default_rng([3, index])) for index in range(120)]


def test_pictures_vary_as_promised(drawn: list) -> None:
    sizes = [picture.shape[:2] for picture, _ in drawn]
    assert {min(size) for size in sizes} == {160}
    assert max(max(size) for size in sizes) <= 224
    assert {height > width for height, width in sizes} == {True, False}
    assert {len(shapes) for _, shapes in drawn} == {1, 2, 3, 4}
    names = Counter(shape.name for _, shapes in drawn for shape in shapes)
    assert set(names) == set(CLASSES)
    assert min(names.values()) > 0.5 * max(names.values())


def test_boxes_lie_inside_and_have_the_promised_sizes(drawn: list) -> None:
    for picture, shapes in drawn:
        height, width = picture.shape[:2]
        for shape in shapes:
            x1, y1, x2, y2 = shape.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            assert max(x2 - x1, y2 - y1) <= DIAMETER[1] + 1
            assert shape.truncated or max(x2 - x1, y2 - y1) >= 0.6 * DIAMETER[0]
            assert not shape.truncated or 0 in shape.box or x2 == width or y2 == height


def test_shapes_stand_out_from_the_background(drawn: list) -> None:
    contrasts = []
    for picture, shapes in drawn:
        if len(shapes) > 1 or shapes[0].name != "circle":
            continue
        x1, y1, x2, y2 = shapes[0].box
        inside = picture[(y1 + y2) // 2, (x1 + x2) // 2].astype(float)
        contrasts.append(np.linalg.norm(inside - np.median(picture, axis=(0, 1))))
    assert len(contrasts) >= 3
    assert min(contrasts) > 60
