"""Whether parameters and inputs are still those that a stage read, when it writes its outputs.

DVC takes their checksums only after a stage has ended: of what was edited meanwhile, dvc.lock would say that it made
the outputs.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from frcnn.errors import UserError
from frcnn.params import Params, load_params

# The parameters that dvc.yaml names for each stage.
PARAMETERS = {
    "download": ("download", "splits"),
    "anchors": ("splits.train", "data", "anchors", "model.backbone"),
    "train_phase1": ("splits.train", "data", "anchors", "model", "train", "augment", "train_phase1"),
    "train_phase2": ("splits.train", "data", "anchors", "model", "train", "augment", "train_phase2"),
    "detect": ("splits.test", "detect"),
    "evaluate": ("splits.test", "data.box_convention", "evaluate"),
    "render": ("splits.test", "data.box_convention", "evaluate.iou_threshold", "render"),
    "report": (
        "download",
        "splits",
        "data",
        "anchors",
        "model",
        "train",
        "augment",
        "train_phase1",
        "train_phase2",
        "detect",
        "evaluate",
        "render",
    ),  # fmt: skip
}
Stamp = Mapping[str, tuple[int, int, int]]  # from a path to size in bytes, modification time and inode


def watch(
    stage: str, params_file: Path, overrides: Sequence[str], params: Params, inputs: Sequence[Path]
) -> Callable[[], None]:
    """Remember what a stage is about to read; return the function that refuses when it is not the same any more.

    Args:
        stage: a key of `PARAMETERS`.
        params_file: what `params` were loaded from, with the overrides.
        inputs: files, and folders with all files in them but hidden ones; they need not exist.

    Raises:
        UserError: from the returned function: a parameter or a file was changed; a parameter file is not readable.
    """
    before = {path: stamp(path) for path in inputs}

    def require_unchanged() -> None:
        now = load_params(params_file, overrides)
        for key in PARAMETERS[stage]:
            if attrgetter(key)(now) != attrgetter(key)(params):
                raise _changed(f"{params_file}: {key}")
        for path, then in before.items():
            if differing := dict(then.items() ^ stamp(path).items()):
                raise _changed(f"{min(differing)}: it")

    return require_unchanged


def _changed(what: str) -> UserError:
    remedy = "nothing is written; change it back, or leave it as it is now, and run this again"
    return UserError(f"{what} was changed while this ran; {remedy}")


def stamp(path: Path) -> Stamp:
    """Return size, time and inode of a file, or of the files of a folder but hidden ones; nothing of what is absent."""
    files = [path]
    if path.is_dir():
        files = [Path(root, name) for root, _, names in os.walk(path) for name in names if not name.startswith(".")]
    found = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        found[str(file)] = status.st_size, status.st_mtime_ns, status.st_ino
    return found
