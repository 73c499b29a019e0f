"""Training: the same bytes whether interrupted or not, log, validation, refusal of non-finite losses."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frcnn.data.voc.dataset import VocDataset
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.pytorch.optimizer import build_optimizer, set_learning_rate
from frcnn.training.checkpoint import exclusive, fingerprint, load_checkpoint, save_checkpoint
from frcnn.training.log import NonFiniteLoss
from frcnn.training.loop import Interrupted, Report, train_phase
from frcnn.training.setup import Inputs, set_up
from tests.factories import change
from tests.frcnn.training.phases import Make, bits, learner, train


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


def test_nothing_is_deterministic_on_mps(
    params: Params, dataset: Path, anchors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frcnn.pytorch.device.choose_device", torch.device)
    monkeypatch.setattr("frcnn.pytorch.device.make_deterministic", lambda: None)
    with pytest.raises(UserError, match="train.deterministic: torch has no deterministic gradients on mps"):
        set_up(change(params, {"train.deterministic": True}), 1, Inputs(dataset, anchors, None), "mps")


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
    assert all(0 <= row["val_F1"] <= 1 for row in rows if "val_mAP" in row)
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
