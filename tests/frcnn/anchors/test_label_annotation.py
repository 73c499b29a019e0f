"""From an annotation to labels: which objects, in which pixels, and in the mirror image."""

from pathlib import Path

import numpy as np
import pytest

from frcnn.anchors.label import label_annotation
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params


def annotation(boxes: list[tuple[float, ...]], difficult: list[bool] | None = None) -> Annotation:
    """Return an annotation of a picture of 500 x 375 px."""
    labels = np.arange(1, len(boxes) + 1)
    flags = np.array(difficult or [False] * len(boxes))
    return Annotation("a", Path("a.jpg"), 500, 375, np.array(boxes, np.float32).reshape(-1, 4), labels, flags)


def with_data(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"data": params.data.model_copy(update=changes)})


@pytest.mark.parametrize(("convention", "last_x"), [("voc", 500), ("reference", 499)])
def test_boxes_are_scaled_and_mirrored_about_the_middle(reference: Params, convention: str, last_x: int) -> None:
    params = with_data(reference, box_convention=convention)
    image = label_annotation(annotation([(100, 50, 300, 250)]), params)
    assert image.size == (800, 600)
    np.testing.assert_allclose(image.identity.gt_boxes, [[160, 80, 480, 400]])
    np.testing.assert_allclose(image.mirror.gt_boxes, [[1.6 * (last_x - 300), 80, 1.6 * (last_x - 100), 400]])


@pytest.mark.parametrize(("train_difficult", "labels"), [(False, [1]), (True, [1, 2])])
def test_difficult_objects_train_if_asked(reference: Params, train_difficult: bool, labels: list[int]) -> None:
    params = with_data(reference, train_difficult=train_difficult)
    image = label_annotation(annotation([(100, 50, 300, 250), (0, 0, 90, 90)], [False, True]), params)
    assert image.gt_labels.tolist() == labels
    assert len(image.identity.gt_boxes) == len(image.mirror.gt_boxes) == len(labels)
