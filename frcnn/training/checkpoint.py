"""Keep an interrupted phase: one file, replaced atomically, and a lock so that two trainers never share it."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import frcnn
from frcnn.checksums import append_checksum, appended_fits
from frcnn.errors import UserError
from frcnn.files import atomic_path, locked
from frcnn.messages import first_line

# The code that training imports, and thus decides its result; a change of it makes a checkpoint void. A test compares.
CODE = (
    "__init__.py", "allocation.py", "anchors", "array_file.py", "arrays.py", "backbones.py", "boxes.py", "checksums.py",
    "data/__init__.py", "data/augmentation.py", "data/resizing", "data/voc", "detections/__init__.py",
    "detections/detections.py", "detector", "distributed.py", "errors.py", "files.py", "frameworks.py", "messages.py",
    "param_file.py", "params", "pytorch", "training",
)  # fmt: skip
KERAS_CODE = ("keras",)
ONNX_CODE = ("onnx/__init__.py", "onnx/session.py")  # which only detection uses
# It decides what is held out and which epoch is best.
VALIDATION_CODE = (
    "evaluation/__init__.py", "evaluation/matching.py", "evaluation/score_curves.py", "evaluation/voc_ap.py",
    "sources/__init__.py", "sources/stratify.py",
)  # fmt: skip


def fingerprint(provenance: dict[str, Any], validation: bool = False, keras: bool = False) -> str:
    """Return a digest of parameters and inputs, and of the code that trains with them.

    Without validation, or without Keras, an edit of their code leaves the digest alone: a finished phase is then not
    trained again.
    """
    root = Path(frcnn.__file__).parent
    digest = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode())
    for part in CODE + (VALIDATION_CODE if validation else ()) + (KERAS_CODE if keras else ()):
        for path in sorted((root / part).rglob("*.py")) if (root / part).is_dir() else [root / part]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training state; the previous one stays whole until this one is.

    Raises:
        UserError: it cannot be written, or a tensor holds infinity or NaN; the previous one stays.
    """
    if name := next(_non_finite(state), None):
        raise UserError(
            f"{path}: not replaced, since {name} became infinite or NaN; train with a lower learning rate or a warm-up"
        )
    with atomic_path(path, durable=True) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise UserError(f"{path}: cannot be written: {first_line(error)}") from error
        append_checksum(temporary)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state of an earlier run, None where there is none, an empty one where it cannot be read.

    Raises:
        UserError: it is damaged.
    """
    try:
        fits = appended_fits(path)
    except FileNotFoundError:
        return None
    if fits is False:
        raise UserError(
            f"{path}: damaged, its checksum does not fit its content; remove it, or start again with --fresh"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True) if fits else {}
    except Exception:  # of what another version of torch wrote
        return {}
    return state if isinstance(state, dict) else {}


def _non_finite(state: Any, name: str = "") -> Iterator[str]:
    """Yield the names of tensors with infinity or NaN in nested dictionaries."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from _non_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, torch.Tensor) and not torch.isfinite(state).all():
        yield name


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        UserError: another training holds it, or the folder cannot be made.
    """
    with locked(folder / "lock", wait=False) as alone:
        if not alone:
            raise UserError(f"{folder}: another training is running here; wait for it or stop it")
        for abandoned in folder.glob(".*.tmp"):  # by a run that was killed while it saved
            abandoned.unlink()
        yield
