"""Run the real command line in forks of a process that has imported everything: a run takes as long as its work."""

import contextlib
import hashlib
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from frcnn.params import PRESETS
from frcnn.presets import commented_params

# A project that runs every line of every stage in the least time.
TINY = {
    "download": {"synthetic": {"train_images": 3, "val_images": 1, "test_images": 2}},
    "model": {"width": 16},
    "train": {"batch_size": 2, "precision": "float32", "rpn": {"pre_nms_topk": 100, "post_nms_topk": 20}},
    "train_phase1": {"epochs": 2},
    "train_phase2": {"epochs": 1},
    "detect": {"precision": "float32", "pre_nms_topk": 100, "post_nms_topk": 10},
    "render": {"images": 2},
}
HEAVY = "torch torchvision pandas h5py matplotlib.pyplot PIL.Image safetensors.numpy pydantic"


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (negative: the signal; None: it ran out of time) and what it printed."""

    code: int | None
    out: str
    err: str


def import_all() -> None:
    """Import what the commands import when they run; leave one thread, so that a fork is sound."""
    import importlib

    for name in HEAVY.split():
        importlib.import_module(name)
    root = PRESETS.parents[1]
    for path in sorted([*(root / "frcnn").rglob("*.py"), *(root / "stages").rglob("*.py")]):
        parts = path.relative_to(root).with_suffix("").parts
        if "keras" not in parts:
            importlib.import_module(".".join(part for part in parts if part != "__init__"))
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"{threads} threads after the imports, a fork would not be sound; set OMP_NUM_THREADS=1")


def run(
    arguments: list[str],
    folder: Path,
    first: Callable[[], None] = lambda: None,
    seconds: float = 120,
    memory: int | None = None,
) -> Ended:
    """Run `frcnn ARGUMENTS` in `folder`, in a fork.

    Args:
        first: called in the fork before the command.
        seconds: after so many the fork is killed.
        memory: bytes of address space that the fork may take beyond what it starts with.
    """
    sys.stdout.flush()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            _become(arguments, folder, first, memory, (out.fileno(), err.fileno()))
        with os.fdopen(os.pidfd_open(pid)) as ended:
            in_time = bool(select.select([ended], [], [], seconds)[0])
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        printed = []
        for file in (out, err):
            file.seek(0)
            printed.append(file.read().decode(errors="replace"))
    return Ended(status if in_time else None, *printed)


def _become(
    arguments: list[str], folder: Path, first: Callable[[], None], memory: int | None, outputs: tuple[int, int]
) -> None:
    """Be the command, and end."""
    code: object = 1
    try:
        os.chdir(folder)
        for target, source in enumerate(outputs, 1):
            os.dup2(source, target)
        sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
        sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")  # as Python itself does
        if memory is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory,) * 2)
        from stages.cli import main

        sys.argv = sys.orig_argv = ["frcnn", *arguments]
        first()
        main()
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def make_project(folder: Path) -> Path:
    """Make a folder with the parameters of the tiny project."""
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(commented_params("demo", TINY))
    return folder


def tree(folder: Path) -> Mapping[str, str]:
    """Return the digests of all files below a folder, and an empty one for empty folders, by their paths."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif not any(path.iterdir()):
            found[f"{name}/"] = ""
    return found


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Return in words how a tree differs from another, nothing where it does not."""
    texts = [f"missing {name}" for name in expected.keys() - found.keys()]
    texts += [f"left over {name}" for name in found.keys() - expected.keys()]
    return sorted(
        texts + [f"other bytes {name}" for name in found.keys() & expected.keys() if found[name] != expected[name]]
    )
