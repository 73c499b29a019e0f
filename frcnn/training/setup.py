"""Set up a phase of training: data, targets, starting weights, device; refuse what does not fit."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frcnn import distributed
from frcnn.anchors.targets import AnchorTargets, provenance_of, read_targets
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.detector.config import DetectorConfig, detector_config
from frcnn.detector.interfaces import Learner
from frcnn.detector.weights_file import is_weights_file, write_weights
from frcnn.errors import UserError
from frcnn.files import sha256_file
from frcnn.frameworks import Backend, choose_backend, initial_network, load_network, network_from_detector
from frcnn.messages import differences, first_few
from frcnn.params import Params, to_dict
from frcnn.training.batches import Source
from frcnn.training.checkpoint import fingerprint
from frcnn.training.initial_weights import read_initial
from frcnn.training.log import Row, best_epoch, validation_of
from frcnn.training.loop import Job
from frcnn.training.picture_cache import PictureCache
from frcnn.training.plan import plan_epoch
from frcnn.training.validation import split_held_out


@dataclass(frozen=True)
class Inputs:
    """The files that a phase reads.

    Attributes:
        dataset: folder in VOC layout.
        anchors: anchors.h5.
        weights: of phase 1 the file of initial weights, None for random ones; of phase 2 the detector of phase 1.
    """

    dataset: Path
    anchors: Path
    weights: Path | None


@dataclass(frozen=True)
class Setup:
    """Everything that a phase of training starts from.

    Attributes:
        network: with the weights that the phase starts from, see `frcnn.frameworks.initial_network`.
        held_out: annotations of the images that validation uses.
        notes: what the network takes of a detector that it starts from, and what may not be meant so, in lines.
        provenance: what the trained weights are made from.
        fingerprint: of the provenance and the code.
    """

    network: Any
    backend: Backend
    source: Source
    held_out: list[Annotation]
    notes: list[str]
    provenance: dict[str, Any]
    fingerprint: str

    def learner(self) -> Learner:
        """Return the network with its optimizer; with several processes all have to come here."""
        return self.backend.learner(self.network, self.source.params.train)

    def job(self, phase: int, checkpoint: Path, workers: int | None = None, **how_often: Any) -> Job:
        """Return phase 1 or 2 as `frcnn.training.loop` trains it.

        Args:
            workers: processes that load pictures; None: none on the CPU, else 8 or the process's share of the cores.
            how_often: checkpoint_seconds, log_steps.
        """
        if workers is None:
            cores = max(1, (os.cpu_count() or 1) // distributed.local_world())
            workers = 0 if self.backend.device.type == "cpu" else min(8, cores)
        return Job(
            number=phase,
            phase=self.source.params.phase(phase),
            source=self.source,
            fingerprint=self.fingerprint,
            checkpoint=checkpoint,
            provenance=self.provenance,
            workers=workers,
            held_out=self.held_out,
            **how_often,
        )

    def write(self, path: Path, learner: Learner, job: Job, rows: list[Row]) -> str:
        """Write what was trained, if this is the main process; return what is to be said of it."""
        last = rows[-1]["epoch"]
        kept = best_epoch(rows) if job.train.validation.keep == "best" else last
        if distributed.is_main():
            write_weights(path, learner.config, learner.weights(), self.provenance, validation_of(rows, kept))
        told = f"{path}: {rows[-1]['step']} steps, last loss {rows[-1]['loss']:.4f}"
        return f"{told}; epoch {kept} of {last} is kept; images held out for validation: {len(job.held_out)}"


def set_up(params: Params, phase: int, inputs: Inputs, device: str, cache: bool = False) -> Setup:
    """Read everything that phase 1 or 2 starts from.

    Args:
        device: auto, cpu, cuda, cuda:N or mps.
        cache: keep decoded pictures in memory.

    Raises:
        UserError: something is missing or does not fit; nothing has been written.
    """
    if distributed.world() > params.train.batch_size:
        raise UserError(
            f"train.batch_size: {params.train.batch_size}, for all processes together, leaves some of "
            f"{distributed.world()} without work; raise it, or start fewer"
        )
    backend = choose_backend(params, device)
    dataset = VocDataset(inputs.dataset)
    annotations = dataset.annotations(params.splits.train, params.data.box_convention)
    digest = dataset.split_sha256(params.splits.train, annotations)
    data_provenance = provenance_of(params, dataset.class_names, digest)
    targets = read_targets(inputs.anchors, data_provenance)
    config = detector_config(dataset.class_names, params)
    network, start, started = _starting_network(phase, config, params, inputs.weights)
    provenance = data_provenance | {
        "phase": phase,
        "start": start,
        "train": params.train.model_dump(mode="json", exclude={"keep_every"}),  # which changes no result
        "schedule": to_dict(params.phase(phase)),
        # Nothing where there is none, so that files keep the bytes that they had before there was augmentation.
        **({"augment": transforms} if (transforms := params.augment.transforms()) else {}),
    }
    source = Source(
        targets, dataset.pictures_of(targets.image_ids), params, PictureCache(targets.size) if cache else None
    )
    trained, held_out = _held_out(params, dataset.class_names, annotations, targets)
    plan = plan_epoch(targets.size, params.train, trained, phase, 0)
    notes = [*started, *_doubts(params, phase, plan, held_out, dataset.class_names)]
    everything = provenance | {
        "model": to_dict(network.config),
        "precision": str(backend.precision),
        "schedule": params.phase(phase).model_dump(mode="json", exclude={"epochs"}),  # a phase may be prolonged
    }
    return Setup(
        network,
        backend,
        source,
        held_out,
        notes,
        provenance,
        fingerprint(everything, params.train.validation.fraction > 0, backend.framework == "tensorflow"),
    )


def _starting_network(
    phase: int, config: DetectorConfig, params: Params, path: Path | None
) -> tuple[Any, str, list[str]]:
    """Return the network, the SHA-256 of the file that it starts from, or none, and what it takes of a detector."""
    seed = params.train.seed
    if phase == 1 and path is None:
        return initial_network(config, seed), "none", []
    if phase == 1 and path is not None and is_weights_file(path):
        network, started = network_from_detector(config, seed, path)
        return network, sha256_file(path), [started]
    if phase == 1 and path is not None:
        return initial_network(config, seed, read_initial(path, config), str(path)), sha256_file(path), []
    if path is None or not path.is_file():
        raise UserError(f"{path}: no such file; run `frcnn train --phase 1` first")
    network = load_network(path)
    # What a network expects of pictures comes from what it once started from.
    config = config.model_copy(update={"preprocessing": network.config.preprocessing})
    changed = differences(to_dict(network.config), to_dict(config))
    if changed:
        raise UserError(f"{path}: trained with {first_few(changed, 6)}; run `frcnn train --phase 1` again")
    return network, sha256_file(path), []


def _held_out(
    params: Params, class_names: list[str], annotations: list[Annotation], targets: AnchorTargets
) -> tuple[np.ndarray, list[Annotation]]:
    """Return the indices of the images to train on, and the annotations of those that validation uses."""
    fraction = params.train.validation.fraction
    trained, indices = split_held_out(targets.image_ids, class_names, fraction, params.train.seed)
    if not len(trained):
        raise UserError(f"train.validation.fraction: {fraction} of {len(targets)} images leaves none to train on")
    if not len(indices):
        return trained, []
    held_out = [annotations[index] for index in indices]
    if not any((~annotation.difficult).any() for annotation in held_out):
        raise UserError(
            "train.validation.fraction: no image that is held out has an object; hold out more, or change train.seed"
        )
    return trained, held_out


def _doubts(
    params: Params, phase: int, plan: list[np.ndarray], held_out: list[Annotation], class_names: Sequence[str]
) -> Iterator[str]:
    """Yield what may not be meant so, a line each; `plan` are the batches of an epoch."""
    schedule, images = params.phase(phase), sum(map(len, plan))
    steps, warm_up = len(plan) * schedule.epochs, schedule.warmup_steps
    if images < params.train.batch_size:
        yield f"note: train.batch_size is {params.train.batch_size}, but there are {images} images to train on"
    if warm_up >= steps:
        yield f"note: train_phase{phase}.warmup_steps is {warm_up}, but the phase has {steps} steps: it is all warm-up"
    shown = {int(label) for annotation in held_out for label in annotation.labels[~annotation.difficult]}
    absent = [name for label, name in enumerate(class_names, 1) if label not in shown]
    if held_out and absent:
        yield f"note: images held out for validation: {len(held_out)}, without {first_few(absent)}; the mAP says little"
