"""Gather what a phase of training needs: data, targets, starting weights, device; refuse what does not fit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from frcnn import distributed
from frcnn.anchors.targets import AnchorTargets, read_targets, recipe_of
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import pictures_of, read_annotations, read_classes
from frcnn.data.voc.digest import split_sha256
from frcnn.detector.config import DetectorConfig, preprocessing_of
from frcnn.errors import UserError
from frcnn.files import sha256_file
from frcnn.params import Params, to_dict
from frcnn.pretrained import find_initial_weights
from frcnn.pytorch.device import choose_device, choose_precision, make_deterministic
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.learner import Learner, TorchLearner
from frcnn.pytorch.weights import load_model, read_config
from frcnn.training.batches import Source
from frcnn.training.cache import PictureCache
from frcnn.training.checkpoint import fingerprint
from frcnn.training.initial_weights import load_pretrained
from frcnn.training.validation import split_held_out


@dataclass(frozen=True)
class Prepared:
    """A model on its device with the weights that the phase starts from, and all that `Job` asks for."""

    model: FasterRCNN
    source: Source
    held_out: list[Annotation]
    device: torch.device
    precision: torch.dtype
    where: str
    fingerprint: str
    trained_on: dict[str, Any]

    def learner(self) -> Learner:
        """Return the model with its optimizer; with several processes all have to come here."""
        train = self.source.params.train
        if train.framework == "tensorflow":
            from frcnn.keras.learner import KerasLearner

            return KerasLearner(self.model.config, self.model.state_dict(), train)
        return TorchLearner(self.model, train, self.device, self.precision)


def prepare(
    params: Params, phase: int, dataset: Path, anchors: Path, models: Path, device_name: str, cache: bool = False
) -> Prepared:
    """Read everything that phase 1 or 2 starts from; `cache`: keep decoded pictures in memory.

    Raises:
        UserError: something is missing or does not fit; nothing has been written.
    """
    if distributed.world() > params.train.batch_size:
        raise UserError(
            f"train.batch_size: {params.train.batch_size}, for all processes together, leaves some of "
            f"{distributed.world()} without work; raise it, or start fewer"
        )
    tensorflow = params.train.framework == "tensorflow"
    device, precision, where = (_tensorflow if tensorflow else _torch)(device_name, params)
    class_names = read_classes(dataset)
    recipe = recipe_of(params, class_names, split_sha256(dataset, params.splits.train))
    targets = read_targets(anchors, recipe)
    config = DetectorConfig(
        class_names, params.model, params.anchors, params.data, preprocessing_of(params.model.backbone)
    )
    if phase == 1:
        model, start = _initial_model(config, params)
    else:
        model, start = _phase1_model(config, models / "phase1.safetensors")
    made_from = recipe | {
        "phase": phase,
        "start": start,
        "train": to_dict(params.train),
        "schedule": to_dict(params.phase(phase)),
    }
    recipe_in_full = made_from | {"model": to_dict(config), "precision": str(precision)}
    return Prepared(
        model.to(device).to(memory_format=torch.channels_last),
        Source(
            targets,
            pictures_of(dataset, targets.image_ids),
            params,
            PictureCache(targets.size) if cache else None,
        ),
        _held_out(params, dataset, targets),
        device,
        precision,
        where,
        fingerprint(recipe_in_full, params.train.val_fraction > 0, tensorflow),
        made_from,
    )


def _torch(name: str, params: Params) -> tuple[torch.device, torch.dtype, str]:
    """Return device and precision, prepared for reproducible training where the parameters ask for it, in words too."""
    if params.train.deterministic:
        make_deterministic()
    device = choose_device(distributed.own_device(name))
    if params.train.deterministic and device.type == "cuda" and params.model.roi_op == "pool":
        raise UserError("train.deterministic: RoIPool has no deterministic gradient on CUDA; use model.roi_op: align")
    precision = choose_precision(params.train.precision, device)
    return device, precision, f"{device}, {str(precision).removeprefix('torch.')}"


def _tensorflow(name: str, params: Params) -> tuple[torch.device, torch.dtype, str]:
    """Return where torch prepares the batches, and the precision; refuse what is torch's alone."""
    from frcnn.keras.device import choose_device as choose_tensorflow_device

    if distributed.world() > 1:
        raise UserError("train.framework: tensorflow trains in one process; start it without --nproc")
    if params.train.precision == "bf16":
        raise UserError("train.precision: bf16 is torch's alone; for train.framework: tensorflow use float32 or auto")
    if params.train.deterministic:
        raise UserError("train.deterministic: is torch's alone; for train.framework: tensorflow set it to false")
    return torch.device("cpu"), torch.float32, f"tensorflow on {choose_tensorflow_device(name)}, float32"


def _initial_model(config: DetectorConfig, params: Params) -> tuple[FasterRCNN, str]:
    path = find_initial_weights(params.model)
    torch.manual_seed(params.train.seed)
    model = FasterRCNN(config)
    if path is None:
        return model, "none"
    load_pretrained(model, path)
    return model, sha256_file(path)


def _phase1_model(config: DetectorConfig, path: Path) -> tuple[FasterRCNN, str]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `frcnn train --phase 1` first")
    found, expected = to_dict(read_config(path)), to_dict(config)
    for section in expected:
        if found[section] != expected[section]:
            raise UserError(
                f"{path}: trained with another {_difference(section, found[section], expected[section])}; "
                "run `frcnn train --phase 1` again"
            )
    return load_model(path), sha256_file(path)


def _difference(section: str, found: Any, expected: Any) -> str:
    if isinstance(expected, dict):
        key = next(key for key in expected if found.get(key) != expected[key])
        return f"{section}.{key} ({found.get(key)}, now {expected[key]})"
    return f"{section} ({', '.join(found)}; now {', '.join(expected)})"


def _held_out(params: Params, dataset: Path, targets: AnchorTargets) -> list[Annotation]:
    """Return the annotations of the images that validation uses, none without validation."""
    trained, indices = split_held_out(len(targets), params.train.val_fraction, params.train.seed)
    if not len(trained):
        raise UserError(
            f"train.val_fraction: {params.train.val_fraction} of {len(targets)} images leaves none to train on"
        )
    if not len(indices):
        return []
    annotations = read_annotations(dataset, params.splits.train, params.data.box_convention)
    held_out = [annotations[index] for index in indices]
    if not any((~annotation.difficult).any() for annotation in held_out):
        raise UserError("train.val_fraction: no image that is held out has an object; hold out more, or another seed")
    return held_out
