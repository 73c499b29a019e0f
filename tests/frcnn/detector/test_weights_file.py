"""Weights files: what is written is read, the same bytes each time; files of version 2 are read, too."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from frcnn.detector.config import PREPROCESSING, DetectorConfig, detector_config
from frcnn.detector.weights_file import read_validation, read_weights, write_weights
from frcnn.errors import UserError
from frcnn.params import Anchors, Data, Model, Params, Proposals, RoIPool

# The header of a file that version 0.1.0 wrote for a detector with parameters other than its defaults.
VERSION_2 = """
{"config": {
    "anchors": {"anchor_offset": 0.5, "anchor_ratios": [0.5, 1.0, 2.0], "anchor_sizes": [128.0, 256.0, 512.0],
        "rpn_negative_iou": 0.3, "rpn_positive_iou": 0.7, "rpn_straddle_thresh": 0.0, "rpn_tie_tolerance": 0.0},
    "class_names": ["cat", "dog"],
    "data": {"box_convention": "reference", "interpolation": "bilinear", "max_size": null, "min_size": 600,
        "rounding": "down", "train_difficult": false},
    "model": {"backbone": "vgg16", "delta_clamp": false, "dropout": 0.0, "exclude_edge_proposals": true,
        "freeze_at": 2, "head_pool": "avg", "norm": "frozen", "proposal_min_size": 8.0, "roi_clip": false,
        "roi_op": "pool", "roi_sampling_ratio": 3, "roi_size": 7, "rpn_nms_threshold": 0.6, "weights": "caffe",
        "weights_sha256": null, "width": 64},
    "preprocessing": {"mean": [103.939, 116.779, 123.68], "order": "BGR", "scale": 1.0, "std": [1.0, 1.0, 1.0]}},
 "library": "0.1.0", "schema": "frcnn-weights", "trained_on": {"dataset": "abc"}, "version": 2}
"""
ARRAYS = {"rpn.bias": np.random.default_rng(0).random((2, 3), np.float32)}


def write_header(path: Path, text: str) -> None:
    save_file(ARRAYS, path, {"frcnn": text})


def test_round_trip_and_same_bytes(params: Params, tmp_path: Path) -> None:
    config = detector_config(["bolt", "Mutter ü"], params)
    for name in ("one", "two"):
        write_weights(tmp_path / name, config, ARRAYS, {"phase": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found, arrays = read_weights(tmp_path / "one")
    assert found == config
    assert list(arrays) == list(ARRAYS)
    np.testing.assert_array_equal(arrays["rpn.bias"], ARRAYS["rpn.bias"])


def test_what_validation_found_is_kept_and_without_it_the_bytes_are_what_they_were(
    params: Params, tmp_path: Path
) -> None:
    config = detector_config(["bolt"], params)
    write_weights(tmp_path / "plain", config, ARRAYS, {})
    assert read_validation(tmp_path / "plain") == read_validation(tmp_path / "none") == {}
    with safe_open(tmp_path / "plain", "numpy") as file:
        header = json.loads(file.metadata()["frcnn"])
    assert set(header) == {"schema", "version", "library", "checksum", "config", "provenance"}
    write_weights(tmp_path / "w", config, ARRAYS, {}, {"F1": 0.5, "score": 0.25})
    assert read_validation(tmp_path / "w") == {"F1": 0.5, "score": 0.25}
    assert read_weights(tmp_path / "w")[0] == config


def test_a_file_of_version_2_is_read(tmp_path: Path) -> None:
    write_header(tmp_path / "w", VERSION_2)
    config, arrays = read_weights(tmp_path / "w")
    np.testing.assert_array_equal(arrays["rpn.bias"], ARRAYS["rpn.bias"])
    assert config == DetectorConfig(
        class_names=("cat", "dog"),
        model=Model(
            delta_clamp=False,
            proposals=Proposals(min_size=8.0, nms_threshold=0.6, exclude_edge=True),
            roi_pool=RoIPool(op="pool", size=7, sampling_ratio=3, clip=False),
        ),
        anchors=Anchors(),
        data=Data(box_convention="reference", max_size=None, rounding="down"),
        preprocessing=PREPROCESSING["caffe"],
    )


@pytest.mark.parametrize("changes", [{"version": 1}, {"schema": "other"}])
def test_other_versions_and_schemas_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write_header(tmp_path / "w", json.dumps(json.loads(VERSION_2) | changes))
    with pytest.raises(UserError, match="w: not a weights file of this project, version 2 to 4"):
        read_weights(tmp_path / "w")


def test_a_wrong_parameter_is_named(tmp_path: Path) -> None:
    write_header(tmp_path / "w", VERSION_2.replace('"roi_size": 7', '"roi_size": 0, "depth": 1'))
    with pytest.raises(UserError) as error:
        read_weights(tmp_path / "w")
    assert error.value.args == (
        f"{tmp_path / 'w'}: model.roi_pool.size is 0; it must be at least 1",
        f"{tmp_path / 'w'}: unknown parameter model.depth; did you mean model.width?",
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"std": [1.0, 1.0, 1.0]', '"std": [1.0, 0.0, 1.0]', r"preprocessing.std\[1\] is 0.0; it must be greater"),
        ('"scale": 1.0', '"scale": -1.0', "preprocessing.scale is -1.0; it must be greater than 0"),
        ('"order": "BGR"', '"order": "GBR"', "preprocessing.order is 'GBR'"),
        ('"mean": [103.939,', '"mean": [NaN,', r"preprocessing.mean\[0\] is nan"),
    ],
    ids=["std", "scale", "order", "mean"],
)
def test_a_wrong_preprocessing_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in VERSION_2
    write_header(tmp_path / "w", VERSION_2.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "w")


def test_no_byte_can_change_unnoticed(params: Params, tmp_path: Path) -> None:
    write_weights(tmp_path / "w", detector_config(["bolt"], params), ARRAYS, {})
    whole = (tmp_path / "w").read_bytes()
    for place in np.random.default_rng(1).choice(len(whole), 200, replace=False):
        (tmp_path / "w").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(UserError, match="w: (damaged|not a readable weights file)"):
            read_weights(tmp_path / "w")


def test_a_checksum_cannot_be_left_out(params: Params, tmp_path: Path) -> None:
    write_header(tmp_path / "w", json.dumps(json.loads(VERSION_2) | {"version": 4}))
    with pytest.raises(UserError, match="w: damaged, its checksum"):
        read_weights(tmp_path / "w")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_infinity_and_nan_are_neither_written_nor_read(params: Params, tmp_path: Path, value: float) -> None:
    spoilt = {"rpn.bias": np.array([1, value], np.float32)}
    with pytest.raises(UserError, match="w: rpn.bias holds infinity or NaN"):
        write_weights(tmp_path / "w", detector_config(["bolt"], params), spoilt, {})
    assert not (tmp_path / "w").exists()
    save_file(spoilt, tmp_path / "w", {"frcnn": VERSION_2})
    with pytest.raises(UserError, match="w: rpn.bias holds infinity or NaN"):
        read_weights(tmp_path / "w")
