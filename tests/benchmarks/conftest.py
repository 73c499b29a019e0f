"""A small network and its inputs, and repetitions of a single call."""

from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.inputs import draw_pictures, fit_params
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params, load_params

SIZE = (96, 64)  # width, height
SMALL = ("model.width=16", "train.rpn.pre_nms_topk=150", "train.rpn.post_nms_topk=40", "train.roi.batch_size=8")


@pytest.fixture(autouse=True)
def single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not repeat quick functions."""
    monkeypatch.setattr(measure, "LEAST_SECONDS", 0)


@pytest.fixture(scope="session")
def small() -> Params:
    """Parameters of a small ResNet-18 for two images of 96 x 64 pixels."""
    return fit_params(load_params(Path("demo"), SMALL), SIZE, batch_size=2)


@pytest.fixture(scope="session")
def pictures(small: Params, tmp_path_factory: pytest.TempPathFactory) -> list[Annotation]:
    """Generated JPEG files."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"), SIZE, small.data)
