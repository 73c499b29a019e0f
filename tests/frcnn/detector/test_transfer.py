"""A detector that starts from another: what is taken, what stays random, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frcnn.detector.config import PREPROCESSING, detector_config
from frcnn.detector.run import detect_pictures
from frcnn.detector.transfer import transfer
from frcnn.detector.weights_file import is_weights_file, write_weights
from frcnn.errors import UserError
from frcnn.frameworks import initial_network, network_from_detector
from frcnn.params import Params
from frcnn.pytorch.inference import load_detector
from frcnn.pytorch.weights import arrays_of
from tests.factories import change


def make(path: Path, params: Params, names: str = "abc", **changes: Any) -> dict[str, np.ndarray]:
    """Write a random detector; return its weights."""
    config = detector_config(list(names), change(params, changes))
    network = initial_network(config, 5)
    write_weights(path, config, arrays_of(network), {})
    return {name: array.copy() for name, array in arrays_of(network).items()}


def start(path: Path, params: Params, names: str, **changes: Any) -> tuple[dict[str, np.ndarray], str]:
    """Return the weights of a network that starts from a file, and what it says."""
    network, sentence = network_from_detector(detector_config(list(names), change(params, changes)), 1, path)
    return arrays_of(network), sentence


def test_the_same_classes_give_the_same_detections(params: Params, tmp_path: Path) -> None:
    path = tmp_path / "w"
    make(path, params)
    network, sentence = network_from_detector(detector_config(list("abc"), params), 1, path)
    assert sentence == f"starts from {path}: backbone, RPN and head, 3 of 3 classes (a, b, c); random: nothing"
    write_weights(tmp_path / "ours", network.config, arrays_of(network), {})
    there, ours = load_detector(path, "cpu"), load_detector(tmp_path / "ours", "cpu")
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    settings = params.detect.model_copy(update={"score_threshold": 0.0})
    [wanted] = detect_pictures(there, [picture], settings)
    [found] = detect_pictures(ours, [picture], settings)
    assert len(wanted.scores) > 0
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_rows_of_classes_go_by_their_names(params: Params, tmp_path: Path) -> None:
    theirs = make(tmp_path / "w", params)
    ours, sentence = start(tmp_path / "w", params, "xcay")
    random = arrays_of(initial_network(detector_config(list("xcay"), params), 1))
    assert sentence.endswith("backbone, RPN and head, 2 of 3 classes (c, a); random: 2 classes (x, y)")
    for kind in ("weight", "bias"):
        classes, deltas = f"predictor.classes.{kind}", f"predictor.deltas.{kind}"
        for here, there in ((0, 0), (2, 3), (3, 1)):  # background, c, a
            np.testing.assert_array_equal(ours[classes][here], theirs[classes][there])
        for here, there in ((1, 2), (2, 0)):
            rows = slice(4 * here, 4 * here + 4), slice(4 * there, 4 * there + 4)
            np.testing.assert_array_equal(ours[deltas][rows[0]], theirs[deltas][rows[1]])
        for here in (1, 4):
            np.testing.assert_array_equal(ours[classes][here], random[classes][here])
    for name, array in theirs.items():
        if not name.startswith("predictor."):
            np.testing.assert_array_equal(ours[name], array)


def test_other_anchors_leave_the_rpns_outputs_random(params: Params, tmp_path: Path) -> None:
    theirs = make(tmp_path / "w", params)
    ours, sentence = start(tmp_path / "w", params, "d", **{"anchors.anchor_sizes": ((8.0, 16.0),)})
    assert sentence.endswith(
        "backbone, RPN and head, 0 of 3 classes; random: class d and the RPN's outputs "
        "(9 anchors per cell there, not 6); it was trained with anchors.anchor_sizes: [[24.0, 48.0, 96.0]]"
    )
    assert ours["rpn.objectness.weight"].shape[0] == 6
    np.testing.assert_array_equal(ours["rpn.conv.weight"], theirs["rpn.conv.weight"])


def test_trained_norms_start_from_frozen_ones(params: Params, tmp_path: Path) -> None:
    theirs = make(tmp_path / "w", params, **{"model.norm": "frozen"})
    ours, _ = start(tmp_path / "w", params, "abc", **{"model.norm": "trained"})
    np.testing.assert_array_equal(ours["backbone.bn1.running_var"], theirs["backbone.bn1.running_var"])


def test_pictures_are_prepared_as_the_start_expects(params: Params, tmp_path: Path) -> None:
    config = detector_config(["a"], params).model_copy(update={"preprocessing": PREPROCESSING["caffe"]})
    write_weights(tmp_path / "w", config, arrays_of(initial_network(config, 1)), {})
    network, _ = network_from_detector(detector_config(["b"], params), 1, tmp_path / "w")
    assert network.config.preprocessing == PREPROCESSING["caffe"]


def test_another_network_is_refused_with_what_to_set(params: Params, tmp_path: Path) -> None:
    make(tmp_path / "w", params)
    with pytest.raises(UserError) as error:
        start(
            tmp_path / "w", params, "abc", **{"model.width": 32, "model.backbone": "resnet34", "model.head_pool": "max"}
        )
    assert error.value.args == (
        f"{tmp_path / 'w'}: is of another network; to start from it, set "
        "model.backbone: resnet18, model.width: 16, model.head_pool: avg",
    )


def test_missing_weights_are_named(params: Params) -> None:
    config = detector_config(["a"], params)
    own = arrays_of(initial_network(config, 1))
    with pytest.raises(UserError, match="w: does not fit the model, nothing was loaded: missing rpn.conv.bias"):
        transfer(own, config, {name: a for name, a in own.items() if name != "rpn.conv.bias"}, config, "w")


def test_what_a_weights_file_is(params: Params, tmp_path: Path) -> None:
    make(tmp_path / "w", params)
    (tmp_path / "other").write_bytes(b"{" * 100)
    assert is_weights_file(tmp_path / "w")
    assert not is_weights_file(tmp_path / "other")
    assert not is_weights_file(tmp_path / "absent")
