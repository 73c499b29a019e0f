"""A network's weights go to a file and come back, and nothing that does not fit is loaded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from frcnn.detector.tensor_file import read_tensors
from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.weights import arrays_of, load_arrays, load_model
from tests.factories import build


def test_round_trip_and_same_bytes(params: Params, tmp_path: Path) -> None:
    model = build(params)
    for name in ("one", "two"):
        write_weights(tmp_path / name, model.config, arrays_of(model), {"phase": 1})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = load_model(tmp_path / "one")
    assert loaded.config == model.config
    assert read_tensors(tmp_path / "one", 0)[0]["provenance"] == {"phase": 1}
    assert list(loaded.state_dict()) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_loaded_weights_are_a_copy(params: Params) -> None:
    model, other = build(params), build(params)
    weights = {name: np.zeros_like(array) for name, array in arrays_of(model).items()}
    load_arrays(model, weights, "here")
    weights["rpn.conv.bias"] += 1
    assert not any(array.any() for array in arrays_of(model).values())
    with torch.no_grad():
        other.rpn.conv.bias += 1
    assert arrays_of(other)["rpn.conv.bias"].all()


def test_a_foreign_or_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match="no such weights file"):
        load_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not a weights file of this project"):
        load_model(path)
    path.write_bytes(b"not at all")
    with pytest.raises(UserError, match="not a readable weights file"):
        load_model(path)


def test_a_weights_file_that_lacks_an_array(params: Params, tmp_path: Path) -> None:
    model, path = build(params), tmp_path / "w.safetensors"
    weights = arrays_of(model)
    del weights["rpn.conv.bias"]
    write_weights(path, model.config, weights, {})
    with pytest.raises(UserError, match=r"w\.safetensors: does not fit the model.*: missing rpn\.conv\.bias"):
        load_model(path)
