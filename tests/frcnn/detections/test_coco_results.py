import json
from pathlib import Path

import numpy as np
import pytest

from frcnn.arrays import offsets
from frcnn.detections.coco_results import read_results, remark_on_corners, write_results
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
        (changed(category_id=0), "category_id is 0; write 1 to 2, the class's line in classes.txt counted from 1"),
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
    with pytest.raises(UserError, match=r"none\.json: No such file or directory; .*frcnn detect --out x\.json"):
        read_results(tmp_path / "none.json", IDS, NAMES, "test")


INSTANCES = {
    "images": [
        {"id": 3, "file_name": "images/000012.jpg"},
        {"id": 4, "file_name": "000007.jpg"},
        {"id": 12, "file_name": "C:\\data\\кошка.png"},
        {"id": 5, "file_name": "of another split.jpg"},
    ],
    "categories": [{"id": 0, "name": "animals"}, {"id": 17, "name": " cat"}, {"id": 1, "name": "bird"}],
}


def test_ids_of_instances_mean_pictures_and_classes_by_name(tmp_path: Path) -> None:
    """Also where the ids alone would mean others: 12 is 000012 without the file."""
    instances = write(tmp_path / "instances.json", INSTANCES)
    pairs = [(3, 17), (4, 1), (12, 17)]
    path = write(tmp_path / "d.json", [changed(image_id=image, category_id=category) for image, category in pairs])
    found = read_results(path, IDS, NAMES, "test", instances)
    assert [found.of_image(i).labels.tolist() for i in range(3)] == [[1], [2], [2]]
    for values, words in (
        ({"image_id": 5, "category_id": 1}, "image_id 5 is no image of the split"),
        ({"image_id": 7, "category_id": 1}, "image_id 7 is no image of the split"),
        ({"image_id": 3, "category_id": 0}, "category_id is 0; write the id that instances.json has for a class of"),
        ({"image_id": 3, "category_id": 2}, "category_id is 2; write the id that instances.json has for a class of"),
    ):
        with pytest.raises(UserError, match=words):
            read_results(write(tmp_path / "d.json", [changed(**values)]), IDS, NAMES, "test", instances)


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    names = ["train/a.jpg", "test/a.jpg", "elsewhere/a.jpg"]
    tree = INSTANCES | {"images": [{"id": i, "file_name": name} for i, name in enumerate(names)]}
    instances = write(tmp_path / "instances.json", tree)
    path = write(tmp_path / "d.json", [changed(image_id=1, category_id=1)])
    assert np.diff(read_results(path, ["train/a", "test/a"], NAMES, "test", instances).offsets).tolist() == [0, 1]
    path = write(tmp_path / "d.json", [changed(image_id=2, category_id=1)])
    with pytest.raises(UserError, match="image_id 2 means 2 images"):
        read_results(path, ["train/a", "test/a"], NAMES, "test", instances)


@pytest.mark.parametrize(
    "tree", [[], 7, {"images": []}, {"images": [{"id": 1}], "categories": []}, {"images": 7, "categories": []},
             {"images": [{"id": [], "file_name": "a"}], "categories": []},
             {"images": [{"id": 1, "file_name": 1}], "categories": []}],
    ids=str,
)  # fmt: skip
def test_instances_that_are_none(tmp_path: Path, tree: object) -> None:
    instances = write(tmp_path / "i.json", tree)
    with pytest.raises(
        UserError, match=r"i\.json: no COCO instances, which have images with id and file_name"
    ) as caught:
        read_results(write(tmp_path / "d.json", [GOOD]), IDS, NAMES, "test", instances)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("boxes", "told"),
    [
        ([], False),
        ([[0, 0, 100, 80], [90, 70, 100.9, 80.9]], False),
        ([[60, 50, 150, 120], [0, 0, 9, 9]], False),
        ([[60, 50, 150, 60], [9, 50, 19, 120], [0, 0, 9, 9]], True),
    ],
    ids=["none", "inside", "half", "most"],
)
def test_corners_in_the_place_of_sizes_are_told(boxes: list, told: bool) -> None:
    count = len(boxes)
    arrays = np.reshape(np.array(boxes, np.float32), (-1, 4)), np.ones(count, np.float32), np.ones(count, np.int64)
    remark = remark_on_corners(
        SplitDetections(IDS, NAMES, np.array([0, 0, count, count]), *arrays), np.array([[9, 9], [100, 80], [9, 9]])
    )
    assert (remark is not None) == told
    assert (
        not told
        or remark == "2 of 3 boxes leave their pictures; is bbox x1, y1, x2, y2 instead of x, y, width, height?"
    )
