"""Progress of training without a terminal: a line an epoch, one a minute, and nothing in between."""

from types import SimpleNamespace
from typing import Any

import pytest

from frcnn import training_lines
from frcnn.detector.config import LOSSES
from frcnn.training.loop import Report

JOB: Any = SimpleNamespace(number=1, phase=SimpleNamespace(epochs=2))


def report(step: int) -> Report:
    losses = dict.fromkeys(LOSSES, 0.25) | {"loss": 1.0}
    return Report(1 + step // 51, step, 100, 4 * step, 0.001, losses)


def test_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = 0.0
    monkeypatch.setattr(training_lines, "time", SimpleNamespace(monotonic=lambda: now))
    lines = training_lines.TrainingLines(JOB, said.append)
    for step in range(1, 51):  # two seconds a step, four images each
        now += 2
        lines.on_step(report(step))
    assert len(said) == 1
    assert said[0] == (
        "phase 1, epoch 1/2, step 30/100: loss 1.0000 (rpn_cls 0.2500 rpn_box 0.2500 roi_cls 0.2500 roi_box 0.2500), "
        "rate 0.001, 2.0 img/s, 0:02:20 left"
    )
    for _ in range(10):  # validation, ten seconds an image: the speed of training stays, the time left grows
        now += 10
        lines.on_step(report(50))
    assert [line.split("), ")[1] for line in said[1:]] == [
        f"rate 0.001, 2.0 img/s, {left} left" for left in ("0:02:00", "0:03:02")
    ]
    assert [line.split(": ")[0] for line in said[1:]] == ["phase 1, epoch 1/2, step 50/100"] * 2
    lines.on_rows([{"val_mAP": 0.5}, {}], False)
    assert len(said) == 3
    lines.on_rows([{"val_mAP": 0.5}, {"val_mAP": 0.625}], True)
    assert said[3].endswith("2.0 img/s, val mAP 0.6250, 0:03:22 left")
