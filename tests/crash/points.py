"""Kill a stage at each of its operations on the file system, run it again, and look at what is there."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from frcnn.files import sha256_file
from tests.crash.forked import Ended, differences, make_project, run, tree

# Events of Python that change the file system; of an open only one for writing does.
CHANGES = {
    "open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
    "os.utime",
}  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
NEVER = 0
Tree = Mapping[str, str]
# Replaced as a whole: between two runs they hold what one of the runs wrote, never a mixture.
FOLDERS = ("data/dataset", "data/renders", "data/report")


@dataclass(frozen=True)
class Stage:
    """A command, what it starts from (the result of an earlier stage, or parameters alone), and changed options."""

    name: str
    arguments: tuple[str, ...]
    after: str | None = None


def stages(sources: Path, address: str, picture: str) -> list[Stage]:
    """Return all stages; those named "again" replace the results of an earlier run by others."""
    none, train = ("--workers", "0"), ("train", "--checkpoint-seconds", "0", "--phase")
    tar = sources / "set.tar"
    fetched = f"download.sha256={{set.tar: {sha256_file(tar)}}}"
    seed, rate = ("-S", "download.synthetic.seed=5"), ("-S", "train_phase1.learning_rate=0.001")
    return [
        Stage("download", ("download", *none)),
        Stage("download again", ("download", *none, *seed), "download"),
        Stage("download folder", ("download", *none, "-S", f"download.source={sources / 'set'}"), "download again"),
        Stage("download tar", ("download", *none, "-S", f"download.source={tar}")),
        Stage("fetch", ("download", *none, "-S", f"download.source={address}/set.tar", "-S", fetched)),
        Stage("fetched", ("download", *none, "-S", f"download.source={address}/set.tar", "-S", fetched), "fetch"),
        Stage("anchors", ("anchors", *none, "--render", "1"), "download"),
        Stage("anchors again", ("anchors", *none, "-S", "anchors.rpn_positive_iou=0.6"), "anchors"),
        Stage("train 1", (*train, "1"), "anchors"),
        Stage("train 1 finished", (*train, "1"), "train 1"),
        Stage("train 1 again", (*train, "1", *rate), "train 1"),
        Stage("train 2", (*train, "2"), "train 1"),
        Stage("detect", ("detect",), "train 2"),
        Stage("detect again", ("detect", "-S", "detect.post_nms_topk=5"), "detect"),
        Stage("detect COCO", ("detect", "--out", "data/detections.json"), "train 2"),
        Stage("evaluate", ("evaluate",), "detect"),
        Stage("evaluate again", ("evaluate", "-S", "evaluate.iou_threshold=0.4"), "evaluate"),
        Stage("render", ("render",), "detect"),
        Stage("render again", ("render", "-S", "render.images=1"), "render"),
        Stage("report", ("report",), "evaluate"),
        Stage("report again", ("report", "-S", "render.images=1"), "report"),
        Stage("predict", ("predict", picture, "--score-threshold", "0.05"), "detect"),
        Stage("predict again", ("predict", picture, "--score-threshold", "0.2"), "predict"),
        Stage("import-weights", ("import-weights", str(sources / "resnet18.pth"), "--out", "start.safetensors")),
        Stage("preset", ("preset", "demo", "--out", "new.yaml", "--force")),
        Stage("preset again", ("preset", "reference", "--force"), "preset"),
    ]


def count_changes(folder: Path, log: int, kill_at: int = NEVER, number: int = signal.SIGKILL) -> None:
    """Note each change below `folder` as a line in the file `log`; before the change `kill_at` send a signal."""
    root, counted = f"{folder.resolve()}{os.sep}", itertools.count(1)

    def note(event: str, arguments: tuple) -> None:
        if event not in CHANGES:
            return
        flags = (arguments[2] or 0) if event == "open" else os.O_WRONLY
        if not flags & WRITING or flags & os.O_DIRECTORY:  # a folder that is opened for writing gives a nameless file
            return
        paths = arguments[: 2 if event in ("os.rename", "os.link") else 1]
        relative_to = arguments[1] if event in ("os.remove", "os.rmdir") else -1  # a descriptor: shutil.rmtree
        base = Path.cwd() if relative_to < 0 else Path(f"/proc/self/fd/{relative_to}").readlink()
        full = [os.path.normpath(base / os.fspath(path)) for path in paths if isinstance(path, str | os.PathLike)]
        if any(path.startswith(root) for path in full):
            os.write(log, f"{event} {full[0].removeprefix(root)}\n".encode())
            if next(counted) == kill_at:
                os.kill(os.getpid(), number)

    sys.addaudithook(note)


class Bench:
    """Holds the results of undisturbed runs, by the names of stages, and runs others against them."""

    def __init__(self, folder: Path, every: list[Stage]) -> None:
        """Remember the stages; nothing is run yet."""
        self.folder, self.stages = folder, {stage.name: stage for stage in every}
        self.events: dict[str, list[str]] = {}
        self.trees: dict[str, dict[str, str]] = {}
        make_project(folder / "start")

    def start_of(self, stage: Stage) -> Path:
        """Return the folder that a stage starts from."""
        if stage.after is not None:
            self.events_of(self.stages[stage.after])
        return self.folder / (stage.after or "start")

    def events_of(self, stage: Stage) -> list[str]:
        """Return the changes that an undisturbed run makes; run it if that has not been done."""
        if stage.name not in self.events:
            start, folder = self.start_of(stage), self.folder / stage.name
            ended, self.events[stage.name] = self._run(stage, shutil.copytree(start, folder))
            if ended.code:
                raise SystemExit(f"{stage.name}: the undisturbed run failed: {ended}")
            self.trees[stage.name] = tree(folder)
        return self.events[stage.name]

    def _run(self, stage: Stage, folder: Path, *kill: int) -> tuple[Ended, list[str]]:
        with (self.folder / "events").open("w+") as log:
            os.environ["FRCNN_CACHE"] = str(folder / "cache")
            ended = run(list(stage.arguments), folder, partial(count_changes, folder, log.fileno(), *kill))
            log.seek(0)
            return ended, log.read().splitlines()

    def kill(self, stage: Stage, point: int, number: int) -> list[str]:
        """Return what is wrong after a run that is killed at a point, and another that is not."""
        events = self.events_of(stage)
        folder = shutil.copytree(self.start_of(stage), self.folder / "run", dirs_exist_ok=False)
        before, after = tree(folder), self.trees[stage.name]
        try:
            ended, seen = self._run(stage, folder, point, number)
            expected = {-signal.SIGKILL} if number == signal.SIGKILL else {128 + signal.SIGTERM, 0}
            wrong = [] if ended.code in expected else [f"ended with {ended.code}: {ended.out} {ended.err}"]
            left = tree(folder)
            wrong += [f"then {text}" for text in _half_written(left, before, after)]
            if number == signal.SIGTERM:
                wrong += sorted({f"then left over {_scratch_of(name)}" for name in left if _is_scratch(name)})
            ended, _ = self._run(stage, folder)
            wrong += [f"run again: ended with {ended.code}: {ended.out} {ended.err}"] if ended.code else []
            wrong += [f"run again: {text}" for text in differences(_lasting(tree(folder)), _lasting(after))]
        finally:
            shutil.rmtree(folder)
        place = seen[point - 1] if point <= len(seen) else events[-1]
        return [f"{point_name(stage, point, number)} ({place}): {'; '.join(wrong[:6])}"] if wrong else []


def _is_scratch(path: str) -> bool:
    """Tell whether a path means what only the run that made it knows."""
    return any(part.startswith(".") and part.endswith(".tmp") for part in path.split("/"))


def _scratch_of(path: str) -> str:
    return path[: path.index(".tmp") + 4]


def _lasting(files: Tree) -> Tree:
    """Return a tree without what two equal runs may differ in: notes of the cache, bytes of a finished checkpoint."""
    kept = {
        name: digest for name, digest in files.items() if not (name.startswith("cache/") and name.endswith(".sha256"))
    }
    return kept | {name: "" for name in kept if name.startswith("checkpoints/")}


def point_name(stage: Stage, point: int, number: int) -> str:
    """Return how a point is called in messages."""
    return f"{stage.name}, {signal.Signals(number).name} at {point}"


def written_in_place(events: list[str]) -> list[str]:
    """Return the changes that open a file under its final name, where a kill would leave a part of it."""
    opened = [event.partition(" ")[2] for event in events if event.startswith("open ")]
    return [path for path in opened if not (_is_scratch(path) or path.endswith((".part", ".lock", "/lock")))]


def _half_written(left: Tree, before: Tree, after: Tree) -> Iterator[str]:
    """Yield which files, and which folders that are replaced as a whole, are neither as before nor as after."""
    for name, digest in left.items():
        # The log of training holds what was known at the kill (tests/stages/test_train_command.py compares).
        whole = name.startswith((*FOLDERS, "checkpoints/", "metrics/train_"))
        whole = whole or name.endswith((".part", "/")) or _is_scratch(name)
        if not whole and digest not in (before.get(name), after.get(name)):
            yield f"other bytes {name}"
    lost = (before.keys() & after.keys()) - left.keys()
    yield from (f"missing {name}" for name in lost if not name.startswith(FOLDERS) and not name.endswith("/"))
    for folder in FOLDERS:
        found, old, new = (
            {k: v for k, v in files.items() if k.startswith(f"{folder}/")} for files in (left, before, after)
        )
        if found not in (old, new) and (found or not _between_renames(folder, left, old, new)):
            yield f"{folder} is neither the old nor the new one: {'; '.join(differences(found, new)[:3])}"


def _between_renames(folder: str, left: Tree, old: Tree, new: Tree) -> bool:
    """Tell whether the old and the new folder lie whole in a scratch folder, from where the next run takes the new."""
    parent, _, name = folder.rpartition("/")
    scratch = {k: v for k, v in left.items() if k.startswith(f"{parent}/.{name}.") and _is_scratch(k)}
    for which, expected in (("old", old), ("new", new)):
        part = f".tmp/{which}/"
        if {f"{folder}/{k.partition(part)[2]}": v for k, v in scratch.items() if part in k} != expected:
            return False
    return True


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder from a process of its own; yield the address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{server.stdout.readline().split()[5]}"
        finally:
            server.kill()  # it may have inherited that SIGTERM is ignored


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """Make the sources that the stages read, and yield a bench with all stages."""
    import torch
    import torchvision

    sources = folder / "sources"
    first = make_project(folder / "first")
    for command in (["download", "--workers", "0", "-S", "download.synthetic.seed=7"],):
        assert run(command, first).code == 0
    shutil.copytree(first / "data" / "dataset", sources / "set")
    shutil.make_archive(str(sources / "set"), "tar", sources, "set")
    torch.save(torchvision.models.resnet18().state_dict(), sources / "resnet18.pth")
    with serving(sources) as address:
        yield Bench(folder, stages(sources, address, "data/dataset/JPEGImages/test_00001.jpg"))


def all_points(bench: Bench, numbers: tuple[int, ...] = SIGNALS) -> list[tuple[Stage, int, int]]:
    """Return every stage with every point and signal."""
    return [
        (stage, point, number)
        for stage in bench.stages.values()
        for point in range(1, len(bench.events_of(stage)) + 1)
        for number in numbers
    ]
