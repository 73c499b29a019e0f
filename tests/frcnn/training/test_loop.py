"""Training: the same bytes whether interrupted or not, log, validation, refusal of non-finite losses."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.data.voc.dataset import VocDataset
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.learner import TorchLearner
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.training.checkpoint import exclusive, fingerprint, load_checkpoint, save_checkpoint
from frcnn.training.log import NonFiniteLoss
from frcnn.training.loop import Interrupted, Job, Report, train_phase
from frcnn.training.setup import Inputs, set_up
from tests.factories import change

Make = Callable[..., tuple[FasterRCNN, Job]]


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


def learner(model: FasterRCNN, job: Job) -> TorchLearner:
    return TorchLearner(model, job.train, torch.device("cpu"), torch.float32)


def train(model: FasterRCNN, job: Job, stop_after: int | None = None) -> tuple[list[dict], list[str]]:
    """Train to the end, or until `stop_after` steps of this call; return the rows and what was said."""
    steps, said = [], []
    rows = train_phase(learner(model, job), job, steps.append, lambda: len(steps) == stop_after, said.append)
    return rows, said


def bits(model: FasterRCNN) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


# 5 batches an epoch; with two accumulated the optimizer moves after 2, 4, 5, 7, 9 and 10.
@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 5, 9], ids=["in the first epoch", "between epochs", "in the last"])
@pytest.mark.parametrize(
    ("changes", "augment"),
    [({}, "none"), ({"grad_accum": 2, "optimizer.name": "sgd"}, "strong"), ({"ema_decay": 0.9}, "none")],
    ids=["adamw", "accumulating sgd, augmented", "average"],
)
def test_interrupted_or_not_the_bytes_are_the_same(make: Make, stop_after: int, changes: dict, augment: str) -> None:
    model, job = make(changes, augment, checkpoint=make()[1].checkpoint.with_name("undisturbed.pt"))
    rows, _ = train(model, job)
    second, job = make(changes, augment, workers=2)
    with pytest.raises(Interrupted):
        train(second, job, stop_after)
    resumed, job = make(changes, augment)
    resumed_rows, said = train(resumed, job)
    assert "going on after step" in said[0]
    assert bits(resumed) == bits(model)
    assert resumed_rows == rows


@pytest.mark.slow
def test_the_seed_decides(make: Make) -> None:
    results = []
    for seed in (1, 1, 2):
        model, job = make({"seed": seed}, checkpoint=Path("unused"))
        job = replace(job, checkpoint=make()[1].checkpoint.with_name(f"{len(results)}.pt"))
        train(model, job)
        results.append(bits(model))
    assert results[0] == results[1]
    assert results[0] != results[2]


def test_deterministic_training_passes_torchs_own_check(make: Make) -> None:
    """Torch raises at an operator that may differ from run to run; on the CPU ours are none and change nothing."""
    model, job = make(checkpoint=make()[1].checkpoint.with_name("plain.pt"))
    train(model, job)
    try:
        checked, job = make({"deterministic": True})
        assert torch.are_deterministic_algorithms_enabled()
        train(checked, job)
    finally:
        torch.use_deterministic_algorithms(False)
    assert bits(checked) == bits(model)


def test_roi_pool_cannot_be_deterministic_on_cuda(
    params: Params, dataset: Path, anchors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frcnn.pytorch.device.choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("frcnn.pytorch.device.make_deterministic", lambda: None)
    changed = change(params, {"model.roi_pool.op": "pool", "train.deterministic": True})
    with pytest.raises(UserError, match="use model.roi_pool.op: align"):
        set_up(changed, 1, Inputs(dataset, anchors, None), "cuda")


def test_gradients_are_clipped_before_every_step(make: Make) -> None:
    plain = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip_gradients": "value", "clip_at": 1e-3}
    model, job = make({f"optimizer.{key}": value for key, value in plain.items()})
    job = replace(job, phase=change(job.phase, {"warmup_steps": 0}))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rows, _ = train(model, job)
    furthest = rows[-1]["step"] * job.phase.learning_rate * 1e-3
    moves = [(parameter - before[name]).abs().max().item() for name, parameter in model.named_parameters()]
    assert 0.1 * furthest < max(moves) < 1.05 * furthest  # weights near 1 round steps of 2e-6


@pytest.mark.slow
def test_losses_fall(make: Make) -> None:
    model, job = make(phase=change(make()[1].phase, {"epochs": 6, "learning_rate": 3e-3, "warmup_steps": 4}))
    rows, _ = train(model, job)
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_a_finished_phase_is_not_trained_again(make: Make) -> None:
    model, job = make()
    rows, _ = train(model, job)
    again, job = make()
    steps: list = []
    said: list[str] = []
    assert train_phase(learner(again, job), job, steps.append, lambda: False, said.append) == rows
    assert not steps
    assert "finished already" in said[0]
    assert bits(again) == bits(model)


@pytest.mark.slow
def test_a_checkpoint_of_something_else_or_a_broken_one_is_not_resumed(make: Make) -> None:
    model, job = make()
    train(model, job)
    for spoil in ("fingerprint", "bytes"):
        again, other = make()
        if spoil == "fingerprint":
            other = replace(other, fingerprint="another")
        else:
            other.checkpoint.write_bytes(other.checkpoint.read_bytes()[:1000])
        steps: list = []
        said: list[str] = []
        train_phase(learner(again, other), other, steps.append, lambda: False, said.append)
        assert "starting over" in said[0]
        assert len(steps) == 10
        assert bits(again) == bits(model)


def test_a_damaged_checkpoint_is_refused(make: Make) -> None:
    train(*make())
    model, job = make()
    content = bytearray(job.checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    job.checkpoint.write_bytes(content)
    with pytest.raises(UserError, match=r"last.pt: damaged, its checksum .*--fresh"):
        train(model, job)
    assert job.checkpoint.read_bytes() == content


def test_weights_that_became_infinite_are_not_saved(make: Make) -> None:
    model, job = make(checkpoint_seconds=0)
    with pytest.raises(Interrupted):
        train(model, job, stop_after=3)
    before = job.checkpoint.read_bytes()
    state = load_checkpoint(job.checkpoint)
    state["optimizer"]["state"][0]["exp_avg"][:] = torch.inf
    with pytest.raises(UserError, match=r"optimizer.state.0.exp_avg became infinite or NaN; train with a lower"):
        save_checkpoint(job.checkpoint, state)
    assert job.checkpoint.read_bytes() == before


def test_a_checkpoint_of_other_parameters_names_them(make: Make) -> None:
    train(*make())
    model, job = make({"seed": 2, "optimizer.weight_decay": 0.5})
    _, said = train(model, job)
    changed = "train.seed 1, now 2, train.optimizer.weight_decay 0.02, now 0.5"
    assert said == [f"{job.checkpoint}: made with {changed}; starting over and replacing a finished phase"]
    _, said = train(model, replace(job, fingerprint="of other code"))
    assert said == [f"{job.checkpoint}: made by other code; starting over and replacing a finished phase"]


def test_a_non_finite_loss_stops_with_names_and_keeps_the_checkpoint(make: Make) -> None:
    model, job = make(checkpoint_seconds=0)
    with pytest.raises(Interrupted):
        train(model, job, stop_after=3)
    before = job.checkpoint.read_bytes()
    model, job = make({"rpn.sigma": 3.0})
    ids = job.source.targets.image_ids
    job.source.targets.identity.positive_delta[:] = np.inf
    job.source.targets.mirror.positive_delta[:] = np.inf
    with pytest.raises(NonFiniteLoss, match=r"step 4, image .*loss_rpn_box (inf|nan)") as error:
        train(model, replace(job, fingerprint=load_checkpoint(job.checkpoint)["fingerprint"]))
    assert any(image_id in str(error.value) for image_id in ids)
    assert job.checkpoint.read_bytes() == before


def test_validation_is_logged_and_the_best_is_kept(make: Make) -> None:
    model, job = make({"validation.fraction": 0.25, "validation.keep": "best"})
    assert len(job.held_out) == 4
    rows, _ = train(model, job)
    assert all(0 <= row["val_mAP"] <= 1 and row["val_loss"] > 0 for row in rows if "val_mAP" in row)
    assert [row["images"] for row in rows] == [12, 12]
    best = load_checkpoint(job.checkpoint)["best"]
    assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())


def test_rows_between_epochs(make: Make) -> None:
    model, job = make(log_steps=3)
    rows, _ = train(model, job)
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 3), (1, 5), (2, 6), (2, 9), (2, 10)]
    assert [sum(row["images"] for row in rows if row["epoch"] == epoch) for epoch in (1, 2)] == [16, 16]


def test_biases_have_their_own_decay_and_rate(params: Params) -> None:
    layer = torch.nn.Linear(2, 2)
    settings = {"weight_decay": 0.1, "bias_weight_decay": 0.0, "bias_lr_mult": 2.0}
    optimizer = build_optimizer(layer, change(params.train.optimizer, settings))
    set_learning_rate(optimizer, 0.5)
    assert [(g["weight_decay"], g["lr"], len(g["params"])) for g in optimizer.param_groups] == [
        (0.1, 0.5, 1),
        (0.0, 1.0, 1),
    ]


def test_the_optimizer_moves_at_the_grown_rate(make: Make) -> None:
    rates = []
    for base in (None, 2):
        model, job = make({"base_batch_size": base})
        rows, _ = train(model, replace(job, checkpoint=job.checkpoint.with_name(f"{base}.pt")))
        rates.append(rows[-1]["learning_rate"])
    assert rates[1] == 2 * rates[0]


def test_two_trainers_do_not_share_a_folder(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(UserError, match="another training is running"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_the_fingerprint_follows_the_recipe() -> None:
    assert fingerprint({"a": 1}, False) == fingerprint({"a": 1}, False)
    assert len({fingerprint({"a": 1}, False), fingerprint({"a": 2}, False), fingerprint({"a": 1}, True)}) == 3


def test_other_pictures_and_other_objects_are_another_dataset(dataset: Path, tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        return VocDataset(root).split_sha256("trainval", VocDataset(root).annotations("trainval", "voc"))

    copy = tmp_path / "dataset"
    shutil.copytree(dataset, copy)
    annotation, picture = copy / "Annotations" / "train_00001.xml", copy / "JPEGImages" / "train_00001.jpg"
    text = annotation.read_text()
    annotation.write_text(text.replace("<filename>", "<!-- looked at --><filename>"))
    assert digest(copy) == digest(dataset)
    annotation.write_text(text.replace("<difficult>0", "<difficult>1", 1))
    assert digest(copy) != digest(dataset)
    annotation.write_text(text)
    picture.write_bytes((copy / "JPEGImages" / "train_00002.jpg").read_bytes())
    assert digest(copy) != digest(dataset)


def test_the_last_group_of_accumulated_batches_has_its_own_mean(make: Make) -> None:
    """Five batches an epoch in groups of two: the fifth alone moves the weights as if it were not accumulated."""
    gradients = []
    plain = {"optimizer.name": "sgd", "optimizer.momentum": 0.0, "optimizer.weight_decay": 0.0}
    for accumulate in (1, 2):
        model, job = make(plain | {"grad_accum": accumulate})
        job = replace(job, checkpoint=job.checkpoint.with_name(f"{accumulate}.pt"))
        tensors = dict(model.named_parameters())
        before: dict[str, torch.Tensor] = {}

        def note(report: Report, before: dict = before, tensors: dict = tensors) -> None:
            if report.step == 4:
                before.update({name: tensor.detach().clone() for name, tensor in tensors.items()})

        tiny = change(job.phase, {"epochs": 1, "learning_rate": 1e-7, "warmup_steps": 0})
        train_phase(learner(model, job), replace(job, phase=tiny), note, lambda: False, lambda _: None)
        gradients.append((tensors["rpn.deltas.bias"] - before["rpn.deltas.bias"]).detach())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2, atol=1e-9)


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
