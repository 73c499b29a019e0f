import json
from pathlib import Path

import numpy as np
import pytest

from frcnn.arrays import offsets
from frcnn.detections.coco_results import read_results, write_results
from frcnn.detections.detections import SplitDetections
from frcnn.errors import UserError

NAMES = ["bird", "cat"]
IDS = ["000007", "000012", "кошка"]
GOOD = {"image_id": "000007", "category_id": 2, "bbox": [1.5, 2, 30, 40.25], "score": 0.75}


def write(path: Path, entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


def changed(**values: object) -> dict:
    return GOOD | values


def without(key: str) -> dict:
    return {name: value for name, value in GOOD.items() if name != key}


def test_what_is_written_is_the_format_that_others_read(tmp_path: Path) -> None:
    boxes, scores = np.array([[1.5, 2, 31.5, 42.25], [0, 0, 5, 5]], np.float32), np.array([0.75, 0.5], np.float32)
    detections = SplitDetections(IDS, NAMES, np.array([0, 1, 1, 2]), boxes, scores, np.array([2, 1]))
    write_results(tmp_path / "d.json", detections)
    text = (tmp_path / "d.json").read_text(encoding="utf-8")
    other = {"image_id": "кошка", "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}
    assert json.loads(text) == [GOOD, other]
    assert len(text.splitlines()) == 4


def test_float32_comes_back_bit_by_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-5, 4000, (3000, 2)) * 10.0 ** -rng.integers(0, 6, (3000, 1))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 900, (3000, 2))], 1).astype(np.float32)
    scores = rng.random(3000).astype(np.float32) ** 8
    labels, images = rng.integers(1, 21, 3000), np.sort(rng.integers(0, 3, 3000))
    names = [f"class{label}" for label in range(1, 21)]
    write_results(tmp_path / "d.json", SplitDetections(IDS, names, offsets(np.bincount(images)), boxes, scores, labels))
    found = read_results(tmp_path / "d.json", IDS, names, "test")
    for key, expected in (("boxes", boxes), ("scores", scores), ("labels", labels)):
        again = getattr(found, key)
        assert again.dtype == expected.dtype
        np.testing.assert_array_equal(again, expected)
    np.testing.assert_array_equal(found.image_index, images)


def test_nothing_detected(tmp_path: Path) -> None:
    nothing = np.empty(0, np.float32)
    detections = SplitDetections(IDS, NAMES, np.zeros(4, np.int64), nothing.reshape(0, 4), nothing, nothing.astype(int))
    write_results(tmp_path / "d.json", detections)
    for path in (tmp_path / "d.json", write(tmp_path / "other.json", [])):
        found = read_results(path, IDS, NAMES, "test")
        assert [found.of_image(i).boxes.shape for i in range(3)] == [(0, 4)] * 3
        assert found.labels.dtype == np.int64


def test_entries_in_any_order_with_more_than_asked_for(tmp_path: Path) -> None:
    entries = [
        changed(image_id="кошка", score=0.25, segmentation=[], id=9),
        changed(image_id=12),
        changed(image_id="кошка", score=1),
        changed(image_id="000012", category_id=1),
    ]
    found = read_results(write(tmp_path / "d.json", entries), IDS, NAMES, "test")
    assert [found.of_image(i).scores.tolist() for i in range(3)] == [[], [0.75, 0.75], [0.25, 1]]
    assert found.of_image(1).labels.tolist() == [2, 1]
    np.testing.assert_array_equal(found.of_image(2).boxes, [[1.5, 2, 31.5, 42.25]] * 2)


def test_a_number_that_is_also_the_text(tmp_path: Path) -> None:
    """The text is always the image of that very name, whatever numbers there are."""
    path = write(tmp_path / "d.json", [changed(image_id="7"), changed(image_id="07"), changed(image_id=8)])
    assert np.diff(read_results(path, ["07", "7", "8"], NAMES, "test").offsets).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("text", "no object"),
        ([1, 2], "no object"),
        (without("image_id"), "no image_id"),
        (without("category_id"), "no category_id"),
        (without("bbox"), "no bbox"),
        (without("score"), "no score"),
        (changed(image_id="000008"), '"000008" is no image'),
        (changed(image_id="7"), '"7" is no image'),
        (changed(image_id=8), "8 is no image"),
        (changed(image_id=7.0), "7.0 is no image"),
        (changed(image_id=True), "true is no image"),
        (changed(image_id=None), "null is no image"),
        (changed(image_id=["000007"]), "is no image"),
        (changed(image_id=12), "12 means 2 images"),
        (changed(image_id="\ud800\n"), "is no image"),
        (changed(category_id=0), "category_id is 0; write 1 to 2"),
        (changed(category_id=3), "category_id is 3"),
        (changed(category_id="cat"), 'category_id is "cat"'),
        (changed(category_id=1.5), "category_id is 1.5"),
        (changed(category_id=True), "category_id is true"),
        (changed(bbox=None), "bbox is null"),
        (changed(bbox={"x": 1}), "bbox is"),
        (changed(bbox=[1, 2, 3]), "bbox is"),
        (changed(bbox=[1, 2, 3, 4, 5]), "bbox is"),
        (changed(bbox=[1, 2, "3", 4]), "bbox is"),
        (changed(bbox=[True, 2, 3, 4]), "bbox is"),
        (changed(bbox=[1, float("nan"), 3, 4]), "finite"),
        (changed(bbox=[1, 2, float("inf"), 4]), "finite"),
        (changed(bbox=[1e39, 2, 3, 4]), "finite"),
        (changed(bbox=[3e38, 2, 3e38, 4]), "finite"),
        (changed(bbox=[10**400, 2, 3, 4]), "finite"),
        (changed(bbox=[1, 2, -3, 4]), "negative size"),
        (changed(bbox=[1, 2, 3, -1e-9]), "negative size"),
        (changed(score=float("nan")), "score is NaN"),
        (changed(score="0.9"), 'score is "0.9"'),
        (changed(score=None), "score is null"),
    ],
    ids=str,
)
def test_an_entry_that_is_wrong_is_named_in_one_line(tmp_path: Path, entry: object, words: str) -> None:
    path = write(tmp_path / "d.json", [GOOD, entry, GOOD])
    with pytest.raises(UserError) as caught:
        read_results(path, [*IDS, "12", "000001"], NAMES, "test")
    message = str(caught.value)
    assert message.startswith(f"{path}: entry 2: ")
    assert words in message
    assert message.encode().count(b"\n") == 0
    assert len(message) < len(str(path)) + 160


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ('[{"image_id": ', "not JSON"),
        ("[" * 200_000, "not JSON"),
        ("\x89HDF", "not JSON"),
        ('{"images": [], "annotations": []}', "not a list"),
        ("7", "not a list"),
    ],
    ids=["empty", "cut", "deep", "HDF5", "ground truth", "number"],
)
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_results(tmp_path / "d.json", IDS, NAMES, "test")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not JSON"):
        read_results(tmp_path / "d.json", IDS, NAMES, "test")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(json.dumps([GOOD]), encoding="utf-8-sig")
    assert len(read_results(tmp_path / "d.json", IDS, NAMES, "test").of_image(0)) == 1


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: No such file or directory; .*frcnn detect --out none\.json"):
        read_results(tmp_path / "none.json", IDS, NAMES, "test")
