"""dvc.yaml read without DVC: what each stage runs, reads and writes, and whether that is up to date.

DVC keeps such a state in dvc.lock; a run without it has its own file, so that neither needs the other.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from frcnn.errors import UserError
from frcnn.files import sha256_file, write_text
from frcnn.param_file import read_yaml
from frcnn.params import Params, to_dict
from frcnn.unchanged import stamp

PIPELINE, STATE = Path("dvc.yaml"), Path(".frcnn-run.json")
READERS = 8  # files at once
KEY = re.compile(r"\$\{([\w.]+)\}")
State = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage: its command, the files and folders that it reads and writes, and its parameters by dotted key."""

    name: str
    command: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: Mapping[str, Any]


def require_project() -> None:
    """Check that the working directory is a project.

    Raises:
        UserError: it is none.
    """
    if not PIPELINE.is_file():
        raise UserError(f"{PIPELINE}: no such file here; go to a project, or make one with `frcnn init FOLDER`")


def read_stages(params: Params) -> list[Stage]:
    """Return the stages of dvc.yaml in the working directory, in its order; ${key} there is a parameter.

    Raises:
        UserError: none that frcnn wrote.
    """
    try:
        return [_stage(name, entry, to_dict(params)) for name, entry in read_yaml(PIPELINE)["stages"].items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{PIPELINE}: not the pipeline of frcnn; write it anew with `frcnn init .`") from error


def before(stages: list[Stage], last: str | None) -> list[Stage]:
    """Return a stage with all that it needs, in their order; of None all stages.

    Raises:
        UserError: no such stage.
    """
    if last is None:
        return stages
    if last not in (names := [stage.name for stage in stages]):
        raise UserError(f"{last}: no such stage; choose from {', '.join(names)}")
    needed, wanted = {last}, list[Stage]()
    for stage in reversed(stages):
        if stage.name in needed:
            wanted.insert(0, stage)
            needed |= {other.name for other in stages if set(other.outputs) & set(stage.inputs)}
    return wanted


def read_state() -> State:
    """Return what `keep_state` wrote; nothing where it is absent or damaged, so that all stages run."""
    try:
        state = json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def keep_state(state: State) -> None:
    """Write the state of all stages."""
    write_text(STATE, json.dumps(state, indent=2, sort_keys=True) + "\n", durable=True)


def state_of(stage: Stage) -> State:
    """Return what a stage's outputs depend on, and digests of them.

    Raises:
        UserError: an input is not there.
    """
    inputs = digests(stage.inputs)
    if missing := [path for path, digest in inputs.items() if digest is None]:
        raise UserError(f"{missing[0]}: no such file or folder, which the stage {stage.name} reads")
    return {
        "command": stage.command, "params": dict(stage.params), "inputs": inputs, "outputs": digests(stage.outputs)
    }  # fmt: skip


def digests(paths: Iterable[str]) -> dict[str, str | None]:
    """Return a SHA-256 of each file, or of a folder's names and contents but hidden ones; None: it is not there."""
    return {path: _digest(Path(path)) for path in paths}


def _digest(path: Path) -> str | None:
    return _digest_as_of(path, tuple(sorted(stamp(path).items()))) if path.exists() else None


@lru_cache(64)
def _digest_as_of(path: Path, files: tuple[tuple[str, Any], ...]) -> str:
    """Read the files of a stamp, once in a process: several stages read the same ones."""
    names = [Path(name) for name, _ in files if not name.endswith((".pyc", ".tmp"))]
    digest = hashlib.sha256()
    with ThreadPoolExecutor(READERS) as pool:
        for name, content in zip(names, pool.map(sha256_file, names), strict=True):
            digest.update(f"{name.relative_to(path).as_posix()}\n{content}\n".encode())
    return digest.hexdigest()


def _stage(name: str, entry: Mapping[str, Any], params: Mapping[str, Any]) -> Stage:
    def paths(*kinds: str) -> tuple[str, ...]:
        items = [item if isinstance(item, str) else next(iter(item)) for kind in kinds for item in entry.get(kind, [])]
        return tuple(KEY.sub(lambda match: str(_value(params, match[1])), item) for item in items)

    keys = {key: _value(params, key) for key in entry.get("params", [])}
    return Stage(name, str(entry["cmd"]), paths("deps"), paths("outs", "metrics", "plots"), keys)


def _value(params: Mapping[str, Any], key: str) -> Any:
    value: Any = params
    for part in key.split("."):
        value = value[part]
    return value
