"""Kill `dvc repro` of a whole pipeline at random times and run it again, until the data are those of a quiet run."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from frcnn.presets import commented_params
from stages.demo import prepare_folder, remove_broken
from tests.crash.forked import TINY, differences, tree

DVC = [sys.executable, "-m", "dvc", "repro"]
KILLS_A_CHAIN = 4
TRIES = 8  # of `dvc repro` after a kill: what dvc left running may still hold a lock
LIMIT = 600  # seconds of a chain


@dataclass
class Chain:
    """A project in which `dvc repro` runs, with so many processes."""

    folder: Path
    processes: int
    random: random.Random
    counts: Counter = field(default_factory=Counter)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start `dvc repro` in a process group of its own."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1", "FRCNN_NPROC": str(self.processes)}
        with self.folder.with_suffix(".log").open("a") as log:
            command = [*DVC, *options]
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
            )

    def finish(self) -> bool:
        """Run `dvc repro` until it succeeds."""
        for _ in range(TRIES):
            self.mend()
            if self.start().wait(LIMIT) == 0:
                return True
            self.counts["runs that failed after a kill"] += 1
            time.sleep(2)
        return False

    def mend(self) -> None:
        """Remove what a kill of DVC left damaged of its own files, as `frcnn demo` does."""
        files = [self.folder / "dvc.lock", self.folder / ".dvc" / "tmp" / "rwlock"]
        before = [path for path in files if path.exists()]
        remove_broken(self.folder)
        self.counts["damaged files of DVC"] += sum(not path.exists() for path in before)

    def kill_once(self, whom: str) -> None:
        """Run and kill a part of the processes at a random time; once all is done, do all again."""
        done = False
        while True:
            self.mend()
            process = self.start(*["--force"] * done)
            moment = time.monotonic() + self.random.uniform(1, 10)
            while process.poll() is None:
                victims = list(WHOM[whom](process.pid)) if time.monotonic() >= moment else []
                for victim in victims:
                    with suppress(ProcessLookupError):
                        os.kill(victim, signal.SIGKILL)
                if victims:
                    self.counts[whom] += 1
                    process.wait(LIMIT)
                    return
                time.sleep(0.02)
            done = process.returncode == 0


def _descendants(pid: int) -> Iterator[int]:
    """Yield the processes below one."""
    for child in _read(pid, f"task/{pid}/children").split():
        yield int(child)
        yield from _descendants(int(child))


def _read(pid: int, name: str) -> bytes:
    """Return a file of /proc, empty once the process is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def _stage(pid: int) -> list[int]:
    return [each for each in _descendants(pid) if b"/frcnn\0" in _read(each, "cmdline")][:1]


def _rank(pid: int) -> list[int]:
    return [each for each in _descendants(pid) if b"\0RANK=" in _read(each, "environ")][-1:]


WHOM: dict[str, Callable[[int], list[int]]] = {
    "whole group": lambda pid: [pid, *_descendants(pid)],
    "stage alone": _stage,
    "dvc alone": lambda pid: [pid],
    "one rank": _rank,
}


def run_all(kills: int, seed: int) -> bool:
    """Kill so many times, four a chain, a quarter of each kind; print the counts; return whether all ended well."""
    draw, counts, good, start = random.Random(seed), Counter[str](), True, time.monotonic()
    *of_one, of_two = WHOM
    plans = {1: draw.sample(of_one * (kills // len(WHOM)), len(of_one) * (kills // len(WHOM)))}
    plans[2] = [of_two] * (kills // len(WHOM))
    with tempfile.TemporaryDirectory(prefix="frcnn-chains-") as name:
        for processes, plan in plans.items():
            quiet = Chain(_project(Path(name) / f"quiet{processes}"), processes, draw)
            if not quiet.finish():
                raise SystemExit(quiet.folder.with_suffix(".log").read_text())
            for first in range(0, len(plan), KILLS_A_CHAIN):
                chain = Chain(_project(Path(name) / f"chain{processes}-{first}"), processes, draw)
                for kind in plan[first : first + KILLS_A_CHAIN]:
                    chain.kill_once(kind)
                wrong = differences(_data(chain.folder), _data(quiet.folder)) if chain.finish() else ["never succeeded"]
                wrong += [f"left over {path}" for path in chain.folder.rglob("*.tmp") if ".dvc" not in path.parts]
                if wrong:
                    print(f"{chain.folder.name}: {'; '.join(wrong[:6])}")
                    print(chain.folder.with_suffix(".log").read_text()[-1500:])
                good, counts = good and not wrong, counts + chain.counts
                counts["chains"] += 1
    print(f"\npipelines: {dict(counts)}, {'all ended well' if good else 'FAILED'}, {time.monotonic() - start:.0f} s")
    return good


def _project(folder: Path) -> Path:
    prepare_folder(folder)
    (folder / "params.yaml").write_text(commented_params("demo", TINY))
    return folder


def _data(folder: Path) -> dict[str, str]:
    return {**tree(folder / "data"), **tree(folder / "metrics")}
