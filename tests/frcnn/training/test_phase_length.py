"""How long a phase is and which weights it keeps: early stopping, the average, more epochs, checkpoints that stay."""

import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from frcnn.errors import UserError
from frcnn.pytorch.learner import TorchLearner
from frcnn.training.loop import Interrupted, Report, train_phase
from tests.factories import change
from tests.frcnn.training.phases import Make, bits, learner, train


def test_patience_ends_the_phase_and_keeps_the_best(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs 1 to 3 score 0.5, 0.6, 0.6; then a resumed run ends at 0.4, as two in a row are not better than 0.6."""
    scores, seen, said = {1: 0.5, 2: 0.6, 3: 0.6, 4: 0.4}, [], []
    phase = change(make()[1].phase, {"epochs": 9})
    settings = {"validation.fraction": 0.25, "validation.keep": "best", "validation.patience": 2}

    def validate(learner: TorchLearner, *_: object) -> dict[str, float]:
        seen.append([array.tobytes() for array in learner.weights().values()])
        return {"val_loss": 1.0, "val_mAP": scores[len(seen)]}

    monkeypatch.setattr("frcnn.training.loop.validate", validate)
    with pytest.raises(Interrupted):
        train(*make(settings, phase=phase), stop_after=10)
    for again in ("going on after step", "finished already"):
        model, job = make(settings, phase=phase)
        rows, said = train(model, job)
        assert again in said[0]
        assert said[1] == "phase 1: ends after epoch 4, as the mAP in validation rises no more"
        assert (rows[-1]["epoch"], len(seen)) == (4, 4)
        assert bits(model) == seen[1]


def test_the_average_is_validated_and_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step's weights, then (n = 1, 2, ...) a share min(0.5, (1 + n) / (10 + n)) of the average stays."""
    model, job = make({"ema_decay": 0.5, "validation.fraction": 0.25})
    average: dict[str, torch.Tensor] = {}
    steps, validated = 0, []
    monkeypatch.setattr("frcnn.training.loop.validate", lambda learner, *_: validated.append(learner._kept) or {})

    def follow(report: Report) -> None:
        nonlocal steps
        share = min(0.5, (1 + steps) / (10 + steps)) if steps else 0.0
        for name, tensor in model.named_parameters():
            average[name] = share * average.get(name, 0) + (1 - share) * tensor.detach().double()
        steps += 1

    train_phase(tested := learner(model, job), job, follow, lambda: False, lambda _: None)
    assert steps == 8
    for name, tensor in model.named_parameters():  # now the average
        torch.testing.assert_close(tensor.detach().double(), average[name], rtol=1e-5, atol=1e-7)
    assert bits(model) == bits(validated[-1]) == [array.tobytes() for array in tested.kept_weights().values()]
    assert all(tensor.dtype == torch.float32 for tensor in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "stop_after"), [(2, None), (5, 8), (3, 15)], ids=["finished", "in an epoch", "after the last step"]
)
def test_another_number_of_epochs_gives_the_bytes_of_a_run_that_had_it_at_once(
    make: Make, first: int, stop_after: int | None
) -> None:
    settings = {"validation.fraction": 0.1, "validation.keep": "best", "ema_decay": 0.9}
    three, other = (change(make()[1].phase, {"epochs": epochs}) for epochs in (3, first))
    model, job = make(settings, phase=three)
    rows, _ = train(model, replace(job, checkpoint=job.checkpoint.with_name("at once.pt")))
    begun, job = make(settings, phase=other)
    with nullcontext() if stop_after is None else pytest.raises(Interrupted):
        train(begun, job, stop_after)
    prolonged, job = make(settings, phase=three)
    more, said = train(prolonged, job)
    assert "of 3" in said[0]
    assert (bits(prolonged), more) == (bits(model), rows)


CANNOT: dict[str, tuple[dict[str, object], dict[str, object], int, str]] = {
    "cosine": ({}, {"schedule": "cosine"}, 3, "the learning rates of schedule: cosine follow from their number"),
    "steps": ({}, {"schedule": "steps", "milestones": (0.5,)}, 3, "the learning rates of schedule: steps follow"),
    "fewer": ({}, {}, 1, "it is past that"),
    "validated": ({"validation.fraction": 0.25, "validation.every": 4}, {}, 3, "only one of them ends with epoch 2"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_a_finished_phase_is_not_replaced_by_one_of_another_length(make: Make, case: str) -> None:
    settings, schedule, epochs, why = CANNOT[case]
    model, job = make(settings, phase=change(make()[1].phase, schedule))
    train(model, job)
    before = job.checkpoint.read_bytes()
    with pytest.raises(UserError, match=rf"phase of 2 epochs, now {epochs}, but {why}.*set epochs back, .*--fresh"):
        train(*make(settings, phase=change(job.phase, {"epochs": epochs})))
    assert job.checkpoint.read_bytes() == before
    train(*make(settings, phase=job.phase))


def test_an_unfinished_phase_of_another_length_starts_over(make: Make) -> None:
    two, three = (change(make()[1].phase, {"schedule": "cosine", "epochs": epochs}) for epochs in (2, 3))
    with pytest.raises(Interrupted):
        train(*make(phase=two), stop_after=6)
    rows, said = train(*make(phase=three))
    assert said[0].endswith("of schedule: cosine follow from their number; starting over")
    assert [row["learning_rate"] for row in rows][-1] < 0.2 * rows[0]["learning_rate"]


def test_checkpoints_that_stay_can_be_gone_on_from(make: Make) -> None:
    phase = change(make()[1].phase, {"epochs": 4})
    model, job = make({"keep_every": 2}, phase=phase)
    train(model, job)
    kept = sorted(path.name for path in job.checkpoint.parent.glob("*.pt"))
    assert kept == ["epoch002.pt", "epoch004.pt", "last.pt"]
    shutil.copy(job.checkpoint.with_name("epoch002.pt"), job.checkpoint)
    again, job = make(phase=phase)
    _, said = train(again, job)
    assert "going on after step 10, in epoch 3 of 4" in said[0]
    assert bits(again) == bits(model)
