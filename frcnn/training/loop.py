"""Train one phase: epochs, steps, checkpoints; the same bytes whether interrupted or not.

The network is a `Learner`, torch's or TensorFlow's. Several processes run this in step, each with its share of every
batch; see `frcnn.distributed`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frcnn import distributed
from frcnn.data.voc.annotation import Annotation
from frcnn.detector.interfaces import Learner, Weights
from frcnn.errors import UserError
from frcnn.messages import differences, first_few
from frcnn.params.training import Phase, Train
from frcnn.training.batches import EpochBatches, Source, loader
from frcnn.training.checkpoint import load_checkpoint, save_checkpoint
from frcnn.training.log import Log, Row, best_epoch, validations_since_best
from frcnn.training.plan import plan_epoch
from frcnn.training.schedule import learning_rate
from frcnn.training.validation import validate

COLLECT_EVERY = 10  # steps on CUDA between looks at the losses, which make the host wait for the device


class Interrupted(Exception):
    """Training was asked to stop; its state is saved."""


@dataclass(frozen=True)
class Job:
    """One phase of training and where its state is kept.

    Attributes:
        number: 1 or 2.
        fingerprint: of everything that decides the result; a checkpoint of another is not resumed.
        provenance: parameters and digests that the fingerprint is made of, beside the code.
        held_out: annotations of the images that validation uses, sorted as in `source`.
        checkpoint_seconds: time between checkpoints within an epoch.
        log_steps: steps between rows of the log; every epoch ends with one.
    """

    number: int
    phase: Phase
    source: Source
    fingerprint: str
    checkpoint: Path
    provenance: dict[str, Any] = field(default_factory=dict)
    workers: int = 0
    held_out: list[Annotation] = field(default_factory=list)
    checkpoint_seconds: float = 300
    log_steps: int = 100

    @property
    def train(self) -> Train:
        """The parameters that both phases share."""
        return self.source.params.train


@dataclass(frozen=True)
class Report:
    """What happened last: place in the phase (steps are batches), rate, mean losses since the last row of the log."""

    epoch: int
    step: int
    steps: int
    images: int
    learning_rate: float
    losses: dict[str, float]


@dataclass
class _State:
    """Everything that a checkpoint holds beside the learner's own."""

    log: Log
    epoch: int = 0
    offset: int = 0
    step: int = 0
    rate: float = 0.0
    best: Weights | None = None  # where they are kept


def train_phase(
    learner: Learner,
    job: Job,
    on_step: Callable[[Report], None],
    should_stop: Callable[[], bool],
    notify: Callable[[str], None],
    on_rows: Callable[[list[Row], bool], None] = lambda rows, ended: None,
) -> list[Row]:
    """Train a model in place.

    Args:
        learner: with the weights that the phase starts from.
        on_step: called after every step, and with the same report now and then in validation.
        should_stop: asked after every step; where any process says True the state is saved.
        notify: told in a line whether an earlier run is resumed.
        on_rows: see `Log`; also told of the rows of an earlier run.

    Returns:
        The rows of the log (columns: `frcnn.training.log.COLUMNS`).

    Raises:
        Interrupted: `should_stop` said so.
        NonFiniteLoss: the last checkpoint is kept.
        UserError: the checkpoint is damaged, or of a finished phase of another length that cannot be changed; weights
            became infinite or NaN; other processes read another checkpoint or other data.
    """
    state = _State(Log(on_rows))
    with distributed.main_first():  # which tells if it is damaged
        said = _resume(learner, job, state)
    notify(said)
    distributed.require_same(
        (job.fingerprint, state.step, state.epoch),
        f"{job.checkpoint}: not what the main process has; all need the same data, weights and checkpoints",
    )
    if state.log.rows:
        on_rows(state.log.rows, True)
    chosen = np.isin(job.source.targets.image_ids, [annotation.image_id for annotation in job.held_out])
    indices, held_out = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    while not _finished(job, state):
        _train_epoch(learner, job, state, indices, on_step, should_stop)
        validated = {}
        if len(held_out) and (
            (state.epoch + 1) % job.train.validation.every == 0 or state.epoch + 1 == job.phase.epochs
        ):
            show = partial(on_step, _report(job, state, state.step // (state.epoch + 1)))
            validated = validate(learner, job.source, held_out, job.held_out, job.workers, show)
        state.log.close_row(state.epoch + 1, state.step, state.rate, validated)
        if job.train.validation.keep == "best" and validated and best_epoch(state.log.rows) == state.epoch + 1:
            state.best = {name: array.copy() for name, array in learner.kept_weights().items()}
        state.epoch, state.offset = state.epoch + 1, 0
        if job.train.keep_every and state.epoch % job.train.keep_every == 0:
            _save(learner, job, state, f"epoch{state.epoch:03}.pt")
        _save(learner, job, state)
    if state.epoch < job.phase.epochs:
        notify(f"phase {job.number}: ends after epoch {state.epoch}, as the mAP in validation rises no more")
    learner.load_weights(state.best or learner.kept_weights())
    return state.log.rows


def _train_epoch(
    learner: Learner,
    job: Job,
    state: _State,
    indices: np.ndarray,
    on_step: Callable[[Report], None],
    should_stop: Callable[[], bool],
) -> None:
    plan = plan_epoch(job.source.targets.size, job.train, indices, job.number, state.epoch)
    share = (distributed.rank(), distributed.world())
    batches = EpochBatches(job.source, plan, (job.number, state.epoch), learner.to_inputs, share)
    saved = time.monotonic()
    for inputs in loader(batches, state.offset, job.workers, pin=learner.cuda):
        updated = _step(learner, job, state, inputs, plan)
        if not learner.cuda or state.step % COLLECT_EVERY == 0:
            state.log.collect()
        on_step(_report(job, state, len(plan)))
        if state.step % job.log_steps == 0 and state.offset < len(plan):
            state.log.collect()
            state.log.close_row(state.epoch + 1, state.step, state.rate)
        if updated:  # gradients of a half-accumulated step are not saved
            stop, due = distributed.any_of(should_stop(), time.monotonic() - saved >= job.checkpoint_seconds)
            if stop:
                _save(learner, job, state)
                raise Interrupted
            if due:
                _save(learner, job, state)
                saved = time.monotonic()
    state.log.collect()


def _step(learner: Learner, job: Job, state: _State, inputs: Any, plan: list[np.ndarray]) -> bool:
    """Do this process's share of one of the epoch's batches; return whether the optimizer moved."""
    position = state.offset % job.train.grad_accum
    group = min(job.train.grad_accum, len(plan) - state.offset + position)  # the epoch's last may be smaller
    updated = position + 1 == group
    whole = plan[state.offset]
    seed = (job.train.seed, job.number, state.step, distributed.rank())
    losses = learner.backward(inputs, len(whole), group, updated, seed)
    state.log.add(state.step + 1, [job.source.targets.image_ids[index] for index in whole], losses)
    done = (state.epoch + state.offset / len(plan)) / job.phase.epochs
    state.rate = learning_rate(state.step, done, job.phase, job.train)
    if updated:
        learner.update(state.rate)
    state.step += 1
    state.offset += 1
    return updated


def _report(job: Job, state: _State, steps_per_epoch: int) -> Report:
    steps = job.phase.epochs * steps_per_epoch
    images = state.step * job.train.batch_size
    return Report(state.epoch + 1, state.step, steps, images, state.rate, state.log.means())


def _finished(job: Job, state: _State) -> bool:
    patience = job.train.validation.patience
    impatient = patience is not None and validations_since_best(state.log.rows) >= patience
    return state.epoch == job.phase.epochs or impatient


def _save(learner: Learner, job: Job, state: _State, name: str = "") -> None:
    state.log.collect()  # never save what a non-finite loss has spoilt
    content = {
        "fingerprint": job.fingerprint,
        "epochs": job.phase.epochs,
        "finished": _finished(job, state),
        "provenance": json.dumps(job.provenance),
        "model": _tensors(learner.weights()),
        "optimizer": learner.optimizer_state(),
        "rows": state.log.rows,
        "sums": state.log.sums,
        "images": state.log.images,
        "epoch": state.epoch,
        "offset": state.offset,
        "step": state.step,
        "rate": state.rate,
        "best": state.best and _tensors(state.best),
    }
    if distributed.is_main():
        save_checkpoint(job.checkpoint.with_name(name or job.checkpoint.name), content)


def _resume(learner: Learner, job: Job, state: _State) -> str:
    content = load_checkpoint(job.checkpoint)
    if content is None:
        return f"phase {job.number}: {job.phase.epochs} epoch{'s' * (job.phase.epochs > 1)}"
    if content.get("fingerprint") != job.fingerprint:
        more = " and replacing a finished phase" if content.get("finished") else ""
        return f"{job.checkpoint}: {_reason(content, job)}; starting over{more}"
    if obstacle := _obstacle(content, job):
        told = f"{job.checkpoint}: of a phase of {content['epochs']} epochs, now {job.phase.epochs}, but {obstacle}"
        if content["finished"]:
            raise UserError(f"{told}; set epochs back, or give --fresh, which trains anew and replaces it")
        return f"{told}; starting over"
    learner.load_weights(_arrays(content["model"]))
    learner.load_optimizer_state(content["optimizer"])
    state.log.rows, state.log.sums, state.log.images = content["rows"], content["sums"], content["images"]
    for name in ("epoch", "offset", "step", "rate"):
        setattr(state, name, content[name])
    state.best = content["best"] and _arrays(content["best"])
    if _finished(job, state):
        return f"{job.checkpoint}: finished already; its result is written again (`frcnn train --fresh` trains again)"
    return f"{job.checkpoint}: going on after step {state.step}, in epoch {state.epoch + 1} of {job.phase.epochs}"


def _obstacle(content: dict[str, Any], job: Job) -> str:
    """Say why a phase cannot have another number of epochs than its checkpoint was made with; empty: it can."""
    epoch, lengths, every = content["epoch"], (content["epochs"], job.phase.epochs), job.train.validation.every
    if lengths[0] == lengths[1]:
        return ""
    if job.phase.schedule != "constant":
        return f"the learning rates of schedule: {job.phase.schedule} follow from their number"
    if epoch + (content["offset"] > 0) > job.phase.epochs:
        return "it is past that"
    if job.held_out and epoch in lengths and epoch % every:
        return f"only one of them ends with epoch {epoch} and validates it (train.validation.every: {every})"
    return ""


def _reason(content: dict[str, Any], job: Job) -> str:
    """Say why a checkpoint is not resumed."""
    if "provenance" not in content:
        return "not a readable checkpoint of this version"
    expected = json.loads(json.dumps(job.provenance))
    expected.get("schedule", {}).pop("epochs", None)  # which alone is no reason
    changed = differences(json.loads(content["provenance"]), expected)
    return f"made with {first_few(changed)}" if changed else "made by other code"


def _tensors(weights: Weights) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in weights.items()}


def _arrays(tensors: dict[str, torch.Tensor]) -> Weights:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
