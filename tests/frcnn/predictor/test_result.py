"""What a detector returns: protected, filtered, in the forms of others."""

import json
import pickle
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from frcnn.errors import UserError
from frcnn.predictor import Predictor
from tests.frcnn.predictor.fake_network import HEIGHT, WIDTH


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


def test_results_are_compared_by_identity(detector: Predictor, array: np.ndarray) -> None:
    result = detector(array)
    assert result == result and result != detector(array) and len({result, result}) == 1


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
