"""Keep an interrupted phase: one file, replaced atomically, and a lock so that two trainers never share it."""

import fcntl
import hashlib
import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import frcnn
from frcnn.errors import UserError
from frcnn.files import atomic_path

# The code that decides a training's result; a change of it makes a checkpoint void.
CODE = ("boxes.py", "distributed.py", "params.py", "anchors", "data", "detector", "pytorch", "training")
KERAS_CODE = ("keras",)
VALIDATION_CODE = ("evaluation/matching.py", "evaluation/voc_ap.py")  # decides which epoch is best


def fingerprint(recipe: dict[str, Any], validation: bool = False, keras: bool = False) -> str:
    """Return a digest of a recipe (parameters and digests of inputs) and of the code that executes it.

    Without validation, or without Keras, an edit of their code leaves the digest alone: a finished phase is then not
    trained again.
    """
    root = Path(frcnn.__file__).parent
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for part in CODE + (VALIDATION_CODE if validation else ()) + (KERAS_CODE if keras else ()):
        for path in sorted((root / part).rglob("*.py")) if (root / part).is_dir() else [root / part]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training state; the previous one stays whole until this one is.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise UserError(f"{path}: cannot be written: {str(error).partition(chr(10))[0]}") from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the state of an earlier run, None where there is none, an empty one where it cannot be read."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises:
        UserError: another training holds it, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")  # noqa: SIM115 - closed below, which releases the lock
    except OSError as error:
        raise UserError(f"{folder}: cannot keep checkpoints here: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{folder}: another training is running here; wait for it or stop it") from error
        for abandoned in folder.glob(".*.tmp"):  # by a run that was killed while it saved
            abandoned.unlink()
        yield
