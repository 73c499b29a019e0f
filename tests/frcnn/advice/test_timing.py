"""A training step is timed in a process of its own."""

from pathlib import Path

import pytest

from frcnn.advice import timing
from frcnn.advice.figures import read_training
from frcnn.data.voc.dataset import VocDataset
from frcnn.errors import UserError
from frcnn.params import Params
from tests.factories import POSIX, change


def timed(dataset: Path, params: Params) -> timing.Timing:
    return timing.time_training(dataset, *read_training(VocDataset(dataset), params), params)


@pytest.mark.slow
def test_a_step_is_timed(dataset: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 pictures in batches of 4; no weights are fetched, whatever `model.weights` names."""
    found = timed(dataset, change(params, {"model.weights": "imagenet", "train.validation.fraction": 0.5}))
    assert found.seconds > 0
    assert 100 < found.mebibytes < 100_000
    assert 2 <= found.steps <= 3  # half is held out
    assert min(found.size) == 160
    assert found.device


@pytest.mark.slow
def test_what_cannot_be_trained_is_one_line(dataset: Path, params: Params) -> None:
    impossible = change(params, {"train.framework": "tensorflow", "train.precision": "bf16"})
    with pytest.raises(UserError, match=r"^no step could be timed: train\.precision: tensorflow has no bf16"):
        timed(dataset, impossible)


@POSIX
def test_a_killed_step_is_one_line(dataset: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    run = timing.subprocess.run
    monkeypatch.setattr(timing.subprocess, "run", lambda command, **more: run([command[0], "-c", code], **more))
    with pytest.raises(UserError, match="a step of 4 images was killed"):
        timed(dataset, params)
