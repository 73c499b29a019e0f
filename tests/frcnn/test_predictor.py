"""A detector in Python: what it takes, what it refuses, what it returns, threads, memory."""

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import frcnn
from frcnn.detections.detections import Detections
from frcnn.errors import UserError
from frcnn.images import to_array
from frcnn.params import Data, Detect, Params
from frcnn.params.training import Postprocessing
from frcnn.predictor import Predictor
from frcnn.pytorch.inference import TorchDetector
from frcnn.read_ahead import read_ahead
from tests.factories import ROOT, FolderHandler, build, serve

WIDTH, HEIGHT = 40, 30


class FakeNetwork:
    """Finds a cat in the left half and a dog in the upper third; the cat's score is how red the first pixel is."""

    resizes = False
    config: Any = SimpleNamespace(
        class_names=("cat", "dog"),
        data=Data(min_size=60, max_size=None),
        postprocessing=Postprocessing(nms_threshold=0.6),
    )

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: Sequence[np.ndarray], settings: Postprocessing, precision: str) -> list[Detections]:
        self.batches.append(len(images))
        found = []
        for image in images:
            assert image.dtype == np.uint8
            height, width = image.shape[:2]
            boxes = np.array([[0, 0, width / 2, height], [0, 0, width, height / 3]], np.float32)
            scores = np.array([image[0, 0, 0] / 255, 0.25], np.float32)
            found.append(Detections(boxes, scores, np.array([1, 2])))
        return found


@pytest.fixture
def detector() -> Predictor:
    return Predictor(FakeNetwork(), Detect(batch_size=2))


@pytest.fixture
def array() -> np.ndarray:
    """Red at the left, blue at the right."""
    array = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    array[:, :20, 0], array[:, 20:, 2] = 204, 255
    return array


@pytest.fixture
def path(array: np.ndarray, tmp_path: Path) -> Path:
    Image.fromarray(array).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_one_image(detector: Predictor, array: np.ndarray) -> None:
    result = detector(array)
    np.testing.assert_allclose(result.boxes, [[0, 0, 20, 30], [0, 0, 40, 10]])
    np.testing.assert_allclose(result.scores, [0.8, 0.25])
    assert (result.labels.tolist(), result.names, len(result)) == ([1, 2], ["cat", "dog"], 2)
    assert (result.class_names, result.size) == (("cat", "dog"), (WIDTH, HEIGHT))
    assert detector.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "convert",
    [
        lambda array, path: path,
        lambda array, path: str(path),
        lambda array, path: Image.fromarray(array),
        lambda array, path: Image.open(path),
        lambda array, path: Image.fromarray(array).convert("RGBA"),
        lambda array, path: Image.fromarray(array).convert("P"),
        lambda array, path: array[:, ::-1][:, ::-1],
        lambda array, path: array / 255,
        lambda array, path: (array / 255).astype(np.float16),
        lambda array, path: torch.from_numpy(array).permute(2, 0, 1),
        lambda array, path: torch.from_numpy(array).permute(2, 0, 1) / 255,
        lambda array, path: torch.from_numpy(array).permute(2, 0, 1).double().div(255).requires_grad_(),
    ],
    ids=["Path", "str", "PIL", "opened", "RGBA", "palette", "view", "double", "half", "tensor", "float", "gradient"],
)
def test_the_same_image_of_any_type_gives_the_same(
    detector: Predictor, array: np.ndarray, path: Path, convert: Any
) -> None:
    image = convert(array, path)
    result = detector(image)
    assert result.image is image
    np.testing.assert_allclose(result.scores[0], 0.8)
    np.testing.assert_array_equal(to_array(image), array)


def test_url(detector: Predictor, path: Path) -> None:
    with serve(partial(FolderHandler, directory=str(path.parent))) as address:
        result = detector(f"{address}/picture.png")
        np.testing.assert_allclose(result.scores[0], 0.8)
        assert result.draw().size == detector(path).draw().size
        with pytest.raises(UserError, match=r"none\.png: cannot be fetched"):
            detector(f"{address}/none.png")


def test_turned_pictures_are_upright_as_a_file_and_as_an_image(
    detector: Predictor, array: np.ndarray, path: Path
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(array).save(path, exif=tags)
    with Image.open(path) as image:
        assert detector(path).size == detector(image).size == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(to_array(image), np.rot90(array, -1))
        assert image.size == (WIDTH, HEIGHT)
        assert image.getexif()[0x0112] == 6


def test_levels_of_floating_point_round_to_the_nearest() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    for image in (levels / 255, (levels / 255).astype(np.float32), (levels / 255).astype(np.float16)):
        np.testing.assert_array_equal(to_array(image), levels)


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (
            lambda a: a[..., 0],
            ValueError,
            r"\(30, 40\) is no image \(H, W, 3\) in RGB; repeat gray three times: np.dst",
        ),
        (lambda a: a[..., :1], ValueError, r"\(30, 40, 1\) is no .* repeat gray three times: np.dstack"),
        (lambda a: np.dstack([a, a[..., :1]]), ValueError, r"drop the transparency: image\[\.\.\., :3\]"),
        (lambda a: a[None], ValueError, r"pass several images as a list: list\(images\)"),
        (lambda a: a.transpose(2, 0, 1), ValueError, r"move the channels: image\.transpose\(1, 2, 0\)"),
        (lambda a: np.dstack([a, a]), ValueError, r"\(30, 40, 6\) .* pass one with three channels"),
        (lambda a: a[:0], ValueError, "it is empty"),
        (lambda a: a.astype(np.int64), TypeError, "an array of int64 is no image; convert it to uint8 from 0 to 255"),
        (lambda a: a > 9, TypeError, "an array of bool is no image"),
        (lambda a: a.astype(float), ValueError, "numbers from 0 to 255 is no image; pass 0 to 1, or uint8 from 0 to"),
        (lambda a: a / 255 - 0.5, ValueError, r"numbers from -0\.5 to 0\.5 is no image; .* do not normalize"),
        (lambda a: a * np.nan, ValueError, "numbers from nan to nan"),
        (lambda a: torch.from_numpy(a), ValueError, r"a tensor .* \(3, H, W\) .* image\.permute\(2, 0, 1\)"),
        (lambda a: torch.zeros(4, 9, 9), ValueError, r"drop the transparency: image\[:3\]"),
        (lambda a: torch.zeros(9, 9), ValueError, r"repeat gray three times: image\.expand\(3, -1, -1\)"),
        (lambda a: torch.zeros(2, 3, 9, 9), ValueError, "pass several images as a list"),
        (lambda a: "none.jpg", UserError, r"^none\.jpg: no such picture$"),
        (lambda a: Path("none.jpg"), UserError, r"^none\.jpg: no such picture$"),
        (lambda a: str(ROOT), UserError, "a folder; pass a list of its pictures"),
        (lambda a: ROOT / "README.md", UserError, "README.md: unreadable picture: not a format that is known"),
        (lambda a: Image.new("F", (9, 9)), UserError, "its pixels are floating-point numbers"),
        (lambda a: None, TypeError, "an image is a path, .* not NoneType; pass several as a list"),
        (lambda a: b"bytes", TypeError, "not bytes"),
        (lambda a: {"image": a}, TypeError, "not dict"),
        (lambda a: (each for each in [a]), TypeError, "not generator; pass several as a list"),
    ],
)
def test_what_is_no_image_is_one_sentence(
    detector: Predictor, array: np.ndarray, make: Any, kind: type[Exception], words: str
) -> None:
    for wrong in (make(array), [array, make(array)]):
        with pytest.raises(kind, match=words) as caught:
            detector(wrong)
        assert "\n" not in str(caught.value)


def test_lists_are_batched_and_keep_their_order(detector: Predictor, array: np.ndarray) -> None:
    images = [array // (1 + number) for number in range(5)]
    results = detector(images)
    np.testing.assert_allclose([each.scores[0] for each in results], [204 // (1 + n) / 255 for n in range(5)])
    assert detector.network.batches == [2, 2, 1]
    assert detector([]) == []
    assert len(detector(tuple(images))) == 5


def test_a_stream_holds_few_images(detector: Predictor, array: np.ndarray) -> None:
    given = 0

    def images() -> Iterator[np.ndarray]:
        nonlocal given
        for given in range(1, 1001):  # noqa: B007
            yield array

    for number, _ in enumerate(detector.stream(images()), 1):
        assert given - number <= 5
    assert number == given == 1000


def test_reading_ahead_ends_with_its_user_and_raises_in_order() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 4:
            raise UserError("four")
        done.append(item)
        return item

    assert list(read_ahead(work, [])) == []
    with pytest.raises(UserError, match="four"):
        assert [each for each in read_ahead(work, range(100))] == [0, 1, 2, 3]  # noqa: C416
    assert max(done) < 10
    first = read_ahead(work, iter([7, 8, 9, 10, 11, 12]))
    assert next(first) == 7
    first.close()
    assert max(done) <= 9


def test_eight_threads_find_the_same(params: Params) -> None:
    """A network of random weights, pictures of different sizes, all threads at once."""
    detector = Predictor(TorchDetector(build(params).eval(), torch.device("cpu")), Detect(score_threshold=0.0))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (60 + 7 * n, 90 - 5 * n, 3), np.uint8) for n in range(4)]
    expected = [each.to_dict() for each in detector(images)]
    assert all(each["detections"] for each in expected)
    start = threading.Barrier(8)

    def work(number: int) -> list[dict]:
        start.wait()
        order = np.roll(np.arange(4), number)
        results = detector([images[i] for i in order]) if number % 2 else [detector(images[i]) for i in order]
        return [results[place].to_dict() for place in np.argsort(order)]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(work, range(8)))


def test_results_cannot_be_changed_and_pickle(detector: Predictor, path: Path) -> None:
    result = pickle.loads(pickle.dumps(detector(path)))
    for each in (result, detector(path)):
        with pytest.raises(FrozenInstanceError):
            each.scores = np.ones(2)
        for name in ("boxes", "scores", "labels"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(each, name)[0] = 1
    np.testing.assert_array_equal(result.boxes, detector(path).boxes)
    assert result.draw().tobytes() == detector(path).draw().tobytes()


def test_filter(detector: Predictor, array: np.ndarray) -> None:
    result = detector(array)
    assert result.filter(0.5).names == result.filter(classes=["cat"]).names == ["cat"]
    assert result.filter(0.25, ["dog", "cat"]).names == ["cat", "dog"]
    assert len(result.filter(classes=[])) == len(result.filter(0.9)) == 0
    assert result.filter(0.5).draw().size == result.draw().size
    with pytest.raises(UserError, match="bird: no class of this detector; it knows cat, dog"):
        result.filter(classes=["cat", "bird"])
    with pytest.raises(TypeError, match=r"pass a list of names, such as \['cat'\]"):
        result.filter(classes="cat")


def test_forms(detector: Predictor, array: np.ndarray, path: Path) -> None:
    result = detector(path)
    found = json.loads(json.dumps(result.to_dict()))
    assert found["detections"][0] == {"label": 1, "class": "cat", "score": 0.8, "box": [0.0, 0.0, 20.0, 30.0]}
    assert (found["width"], found["height"]) == (WIDTH, HEIGHT)
    table = result.to_pandas()
    assert list(table) == ["x1", "y1", "x2", "y2", "score", "label", "class"]
    assert table.iloc[1].tolist() == [0, 0, 40, 10, 0.25, 2, "dog"]
    second = {"image_id": "picture", "category_id": 2, "bbox": [0.0, 0.0, 40.0, 10.0], "score": 0.25}
    assert result.to_coco()[1] == second
    assert result.to_coco(7)[1] == second | {"image_id": 7}
    with pytest.raises(ValueError, match="this image is no file, so pass its image_id"):
        detector(array).to_coco()
    none = result.filter(1.0)
    assert (none.to_coco(), none.to_dict()["detections"], len(none.to_pandas())) == ([], [], 0)


def test_supervision(detector: Predictor, array: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=lambda **fields: fields))
    fields = detector(array).to_supervision()
    assert fields["class_id"].tolist() == [0, 1]
    assert fields["data"]["class_name"].tolist() == ["cat", "dog"]
    np.testing.assert_array_equal(fields["xyxy"], detector(array).boxes)
    np.testing.assert_array_equal(fields["confidence"], detector(array).scores)
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="not installed; pip install supervision"):
        detector(array).to_supervision()


def test_the_package_supervision(detector: Predictor, array: np.ndarray) -> None:
    """Run with supervision 0.31.2."""
    supervision = pytest.importorskip("supervision")
    result = detector(array)
    found = result.to_supervision()
    assert len(supervision.Detections.merge([found, result.filter(1.0).to_supervision()])) == len(result)
    assert found[found.confidence > 0.75]["class_name"].tolist() == list(result.filter(0.75).names)
    drawn = supervision.LabelAnnotator().annotate(supervision.BoxAnnotator().annotate(array.copy(), found), found)
    assert drawn.shape == array.shape and (drawn != array).any()


def test_load(monkeypatch: pytest.MonkeyPatch, array: np.ndarray) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr("frcnn.loading.load_detector", lambda *arguments: asked.append(arguments) or FakeNetwork())
    detector = frcnn.load("model.onnx", "cpu", score_threshold=0.5, batch_size=3)
    assert asked == [(Path("model.onnx"), "cpu", "torch")]
    assert detector.settings == Detect(nms_threshold=0.6, score_threshold=0.5, batch_size=3)
    for wrong, words in (
        ({"framework": "jax"}, "frcnn.load: framework is 'jax'; choose from torch, tensorflow"),
        ({"score_threshold": 1.5}, "frcnn.load: score_threshold is 1.5; it must be at most 1"),
        ({"precision": "fp8"}, "frcnn.load: precision is 'fp8'; choose from float32, bf16, fp16, auto"),
        ({"batch_size": 0}, "frcnn.load: batch_size is 0; it must be at least 1"),
    ):
        with pytest.raises(UserError, match=words):
            frcnn.load("model.onnx", **wrong)
    assert len(asked) == 1


def test_detect_refuses_what_finds_nothing(detector: Predictor, array: np.ndarray) -> None:
    [found] = detector.detect([array], Detect())
    assert len(found) == 2
    assert detector.detect([array / 255], Detect())[0].scores.tolist() == found.scores.tolist()
    with pytest.raises(TypeError, match="pass a list of resized images, or call the detector itself"):
        detector.detect(array, Detect())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not normalize"):
        detector.detect([array.astype(np.float32)], Detect())


def test_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "pandas", "PIL", "h5py", "pydantic", "matplotlib", "tensorflow", "typer", "rich"}
    code = f"""
import sys, time
began = time.perf_counter()
import frcnn
print(time.perf_counter() - began, sorted({heavy!r} & set(sys.modules)))
"""
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split(
            " ", 1
        )
        for _ in range(3)
    ]
    assert {names.strip() for _, names in runs} == {"[]"}
    assert min(float(seconds) for seconds, _ in runs) < 0.1


def test_what_the_package_offers() -> None:
    assert {name for name in frcnn.__all__ if not name.startswith("__")} == set(frcnn.HOMES)
    assert all(callable(getattr(frcnn, name)) for name in frcnn.HOMES)


def test_it_describes_itself_in_a_line(params: Params) -> None:
    network = TorchDetector(build(params).eval(), torch.device("cpu"))
    assert repr(Predictor(network, params.detect)) == "<detector resnet18, 3 classes: a, b, c; score_threshold 0.05>"


@pytest.mark.parametrize("one", ["photo.jpg", Path("photo.jpg"), np.zeros((30, 40, 3), np.uint8), None])
def test_a_stream_is_of_several_images(detector: Predictor, one: Any) -> None:
    with pytest.raises(TypeError, match="stream: pass several images"):
        next(detector.stream(one))


def test_half_precision_tensors(detector: Predictor, array: np.ndarray) -> None:
    pixels = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert np.abs(to_array(pixels.to(dtype)).astype(int) - array).max() <= 1


def test_what_the_package_offers_is_listed() -> None:
    assert set(dir(frcnn)) == set(frcnn.__all__)
    assert frcnn.load and frcnn.UserError


def test_results_are_compared_by_identity(detector: Predictor, array: np.ndarray) -> None:
    result = detector(array)
    assert result == result and result != detector(array) and len({result, result}) == 1


def test_a_folder_of_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder; name a weights file in it"):
        frcnn.load(tmp_path)
