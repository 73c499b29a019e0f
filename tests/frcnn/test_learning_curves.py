"""The log of training as it grows: whole at every row, the same columns throughout, drawn, for TensorBoard."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from frcnn.detector.config import LOSSES
from frcnn.learning_curves import draw_rows, recorder


def rows(scores: dict[int, float]) -> list[dict]:
    """Return six rows, of epochs of two; `scores` are by row."""
    return [
        {"epoch": 1 + i // 2, "step": 10 * (i + 1), "images": 80, "learning_rate": 1e-3}
        | dict.fromkeys(LOSSES, 1 / (i + 1)) | {"loss": 4 / (i + 1)}
        | ({"val_loss": 0.5, "val_mAP": scores[i]} if i in scores else {})
        for i in range(6)
    ]  # fmt: skip


@pytest.mark.parametrize("scores", [{}, {5: 0.25}, {1: float("nan"), 3: 0.5, 5: 0.75}], ids=["none", "last", "not yet"])
def test_every_state_is_the_beginning_of_the_last(tmp_path: Path, scores: dict[int, float]) -> None:
    made, path, states = rows(scores), tmp_path / "log.csv", []
    record = recorder(tmp_path / "log", bool(scores))
    for count in range(1, 7):
        record(made[:count], count % 2 == 0)
        states.append(path.read_text())
        assert path.with_suffix(".png").exists() == (count > 1)
    assert all(states[-1].startswith(state) and state.count("\n") == count for count, state in enumerate(states, 2))
    table = pd.read_csv(path)
    assert table["loss"].tolist() == [row["loss"] for row in made]
    assert ("val_mAP" in table) == bool(scores)


def test_the_picture_is_the_same_bytes_and_shows_validation_where_there_is_some(tmp_path: Path) -> None:
    for name, scores in {
        "a": {1: 0.5, 5: 0.75},
        "b": {1: 0.5, 5: 0.75},
        "without": {},
        "other": {1: 0.5, 5: 1},
    }.items():
        draw_rows(tmp_path / f"{name}.png", rows(scores))
    a, b, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("a", "b", "other"))
    assert a == b != other
    heights = [Image.open(tmp_path / f"{name}.png").height for name in ("without", "a")]
    assert heights == [580, 840]  # two panels, or three
    assert np.asarray(Image.open(tmp_path / "a.png").convert("L")).min() < 100


def test_tensorboard_has_the_scalars_of_every_row_once_even_after_a_restart(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = rows({1: 0.5, 3: 0.75})
    for counts in ((2, 5), (3, 4, 6)):  # killed after the fifth row, resumed after the third
        record = recorder(tmp_path / "log", True, tmp_path / "board")
        for count in counts:
            record(made[:count], False)
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [10, 20, 30, 40, 50, 60]
    assert [(event.step, event.value) for event in events.Scalars("val_mAP")] == [(20, 0.5), (40, 0.75)]
    assert set(events.Tags()["scalars"]) == {"learning_rate", *LOSSES, "loss", "val_loss", "val_mAP"}
