"""The score of the best F1 in validation: kept with the weights, whatever happens on the way, and used by `predict`."""

import json
import signal
from pathlib import Path

import pandas as pd
import pytest

from frcnn.detector.weights_file import read_validation
from tests.factories import FRCNN, RESULTS, options, results, start, training_folder, wait_for

CHANGES = ["model.width=16", "train.batch_size=4", "train.precision=float32", "train_phase1.epochs=4"]
VALIDATED = [*CHANGES, "train.validation.fraction=0.25", "train.validation.score_threshold=0"]
TRAIN = [*FRCNN, "train", "--phase", "1", "--device", "cpu", "--checkpoint-seconds", "0"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def run(folder: Path, *command: str, code: int = 0) -> str:
    """Run a command to its end and return what it said."""
    process = start(folder, *command, **ONE_THREAD)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, stderr
    return stdout + stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [["train.validation.keep=best"], ["train.validation.every=3", "train.ema_decay=0.9"]],
    ids=["best", "last of an average, validated now and then"],
)
def test_the_score_is_that_of_the_weights_kept_and_predict_uses_it(
    tmp_path: Path, dataset: Path, changes: list[str]
) -> None:
    folder, again = (training_folder(tmp_path / name, dataset) for name in ("work", "again"))
    command = [*TRAIN, *options([*VALIDATED, *changes])]
    run(folder, *command)
    log = pd.read_csv(folder / RESULTS[1]).dropna(subset="val_mAP")
    kept = log.loc[log["val_mAP"].idxmax()] if changes[0].endswith("best") else log.iloc[-1]
    found = read_validation(folder / RESULTS[0])
    assert found == {name: kept[f"val_{name}"] for name in ("loss", "mAP", "F1", "score")}
    assert 0 < found["score"] < 1

    process = start(again, *command, **ONE_THREAD)
    wait_for(again / "checkpoints" / "phase1" / "last.pt", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert "going on after step" in run(again, *command)
    assert results(again) == results(folder)

    picture = str(next((dataset / "JPEGImages").glob("test_*.jpg")))
    predict = [*FRCNN, "predict", picture, "--weights", RESULTS[0], "--device", "cpu", "--score-threshold"]
    assert f"with a score above {found['score']:g}" in run(folder, *predict, "auto")
    [automatic] = json.loads((folder / "predictions/detections.json").read_text())
    assert automatic["score_threshold"] == found["score"]
    run(folder, *predict, str(found["score"]))
    assert json.loads((folder / "predictions/detections.json").read_text()) == [automatic]


@pytest.mark.slow
def test_without_validation_there_is_none(tmp_path: Path, dataset: Path) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    run(folder, *TRAIN, *options([*CHANGES, "train_phase1.epochs=1"]))
    assert read_validation(folder / RESULTS[0]) == {}
    picture = str(next((dataset / "JPEGImages").glob("test_*.jpg")))
    said = run(folder, *FRCNN, "predict", picture, "--weights", RESULTS[0], "--score-threshold", "auto", code=2)
    assert said == (
        f"error: {RESULTS[0]}: has no score for --score-threshold auto, since it was trained without validation; "
        "give a number, or train with train.validation.fraction above 0\n"
    )
    assert not (folder / "predictions").exists()
