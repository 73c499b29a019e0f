"""Lists, streams and threads."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frcnn.errors import UserError
from frcnn.params import Detect, Params
from frcnn.predictor import Predictor
from frcnn.pytorch.inference import TorchDetector
from frcnn.read_ahead import read_ahead
from tests.factories import build


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


@pytest.mark.parametrize("one", ["photo.jpg", Path("photo.jpg"), np.zeros((30, 40, 3), np.uint8), None])
def test_a_stream_is_of_several_images(detector: Predictor, one: Any) -> None:
    with pytest.raises(TypeError, match="stream: pass several images"):
        next(detector.stream(one))


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


def test_detect_refuses_what_finds_nothing(detector: Predictor, array: np.ndarray) -> None:
    [found] = detector.detect([array], Detect())
    assert len(found) == 2
    assert detector.detect([array / 255], Detect())[0].scores.tolist() == found.scores.tolist()
    with pytest.raises(TypeError, match="pass a list of resized images, or call the detector itself"):
        detector.detect(array, Detect())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not normalize"):
        detector.detect([array.astype(np.float32)], Detect())
