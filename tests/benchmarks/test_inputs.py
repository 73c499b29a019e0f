"""Drawn pictures of the right size, batches, random detections."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.inputs import CLASS_NAMES, fit_params, make_batch, make_source, original_size, random_detections
from frcnn.data.resizing.sizes import resized_size
from frcnn.data.voc.annotation import Annotation
from frcnn.errors import UserError
from frcnn.evaluation.voc_ap import evaluate_arrays
from frcnn.params import Params, load_params
from frcnn.training.batches import load_sample
from tests.factories import change


@pytest.mark.parametrize("rounding", ["nearest", "down"])
@pytest.mark.parametrize("size", [(800, 600), (600, 800), (1000, 600), (500, 375), (333, 77), (16, 16), (401, 400)])
def test_pictures_become_the_size_that_is_asked_for(small: Params, size: tuple[int, int], rounding: str) -> None:
    data = change(small.data, {"min_size": min(size), "max_size": max(size), "rounding": rounding})
    original = original_size(size, data)
    assert resized_size(original, data) == size
    assert 1 <= min(size) / min(original) <= 1.7


def test_the_pictures_of_voc(small: Params) -> None:
    data = change(small.data, {"min_size": 600, "max_size": 800})
    assert original_size((800, 600), data) == (500, 375)


def test_too_small_an_input_is_refused() -> None:
    params = load_params(Path("demo"))
    with pytest.raises(UserError, match="no side below 16 pixels"):
        fit_params(params, (96, 15), 1)


def test_a_batch_has_pictures_with_objects_in_them(small: Params, pictures: list[Annotation]) -> None:
    batch = make_batch(pictures, small)
    assert batch.images.shape == (2, 64, 96, 3)
    assert batch.images.std() > 10
    assert batch.sizes == [(96, 64)] * 2
    assert (batch.gt_labels > 0).any(1).all()
    assert (batch.anchor_labels == 1).any(1).all()
    for picture in pictures:
        assert (picture.boxes >= 0).all()
        assert (picture.boxes <= [picture.width, picture.height] * 2).all()
        assert set(picture.labels) <= set(range(1, len(CLASS_NAMES) + 1))


def test_pictures_are_repeated_as_often_as_needed(small: Params, pictures: list[Annotation]) -> None:
    source = make_source(pictures, small, 37)
    assert len(source.targets) == len(source.pictures) == 37
    first, again = (load_sample(source, index, (1, 0, 0)) for index in (5, 5 + len(pictures)))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.anchor_deltas, again.anchor_deltas)


def test_random_detections_find_a_part_of_the_objects() -> None:
    objects, detections = random_detections(images=50, per_image=20)
    assert len(detections.scores) == len(detections.boxes) == 1000
    assert len(objects.labels) == 125
    assert (detections.boxes[:, 2:] > detections.boxes[:, :2]).all()
    found = sum(result.found for result in evaluate_arrays(objects, detections, 0.5))
    assert 20 < found <= np.count_nonzero(~objects.difficult)
