"""A small network and its inputs, and repetitions of a single call."""

import pytest

from benchmarks import timing
from benchmarks.inputs import draw_pictures, fit_params
from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params, load_params
from tests.factories import ROOT

SIZE = (96, 64)  # width, height
SMALL = ("model.width=16", "train.pre_nms_topk=150", "train.post_nms_topk=40", "train.roi_batch=8")


@pytest.fixture(autouse=True)
def single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not repeat quick functions."""
    monkeypatch.setattr(timing, "LEAST_SECONDS", 0)


@pytest.fixture(scope="session")
def small() -> Params:
    """Parameters of a small ResNet-18 for two images of 96 x 64 pixels."""
    return fit_params(load_params(ROOT / "params.demo.yaml", SMALL), SIZE, batch_size=2)


@pytest.fixture(scope="session")
def pictures(small: Params, tmp_path_factory: pytest.TempPathFactory) -> list[Annotation]:
    """Drawn JPEG files."""
    return draw_pictures(tmp_path_factory.mktemp("pictures"), SIZE, small.data)
