"""A phase of training on the drawn pictures, as tests of its loop start it."""

from pathlib import Path

import pytest

from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.training.loop import Job
from frcnn.training.setup import Inputs, set_up
from tests.factories import change
from tests.frcnn.training.phases import Make


@pytest.fixture
def make(params: Params, dataset: Path, anchors: Path, tmp_path: Path) -> Make:
    """Return a maker of a fresh model and its job of phase 1; train parameters and job fields can be replaced."""

    def make(train: dict[str, object] | None = None, augment: str = "none", **job: object) -> tuple[FasterRCNN, Job]:
        changed = change(params, {"train": change(params.train, train or {}), "augment.preset": augment})
        setup = set_up(changed, 1, Inputs(dataset, anchors, None), "cpu")
        fields = {
            "number": 1, "phase": changed.train_phase1, "source": setup.source, "fingerprint": setup.fingerprint,
            "checkpoint": tmp_path / "last.pt", "provenance": setup.provenance, "held_out": setup.held_out,
        }  # fmt: skip
        return setup.network, Job(**(fields | job))

    return make
