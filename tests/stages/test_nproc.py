"""`--nproc`, FRCNN_NPROC and torchrun: several processes are started, stopped, killed; what is said, and how often."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from frcnn.params import PRESETS, Params
from stages.terminal.launch import LOST_PEER, _exit_code
from tests.factories import FRCNN, RESULTS, options, results, start, training_folder, wait_for, write_random_weights

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--log-dir", "logs"]
TORCHRUN += ["-m", "stages.cli"]
TRAIN = ["train", "--phase", "1", "--device", "cpu", "--checkpoint-seconds", "0"]
TRAIN += ["-S", "model.width=16", "-S", "train.batch_size=4", "-S", "train.precision=float32"]
TRAIN += ["-S", "train_phase1.epochs=4", "-S", "train_phase1.warmup_steps=5"]
DETECT = ["detect.precision=float32", "detect.post_nms_topk=20", "detect.score_threshold=0", "detect.batch_size=2"]


def begin(folder: Path, command: list[str], nproc: str | None = None) -> subprocess.Popen[str]:
    asked = {"FRCNN_NPROC": nproc} if nproc else {}
    return start(folder, *command, OMP_NUM_THREADS="1", **asked)


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Return exit code, and the lines of stdout and stderr."""
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout.splitlines(), stderr.splitlines()


def ranks(process: subprocess.Popen[str]) -> dict[int, int]:
    """Return the process id of each rank that a launcher runs."""
    found = {}
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        for rank in [entry for entry in environment if entry.startswith(b"RANK=")]:
            found[int(rank.removeprefix(b"RANK="))] = int(child)
    return found


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Weights and log of two processes, asked for by the environment, that nobody disturbed."""
    folder = training_folder(tmp_path_factory.mktemp("undisturbed") / "work", dataset)
    code, stdout, stderr = finish(begin(folder, [*FRCNN, *TRAIN], nproc="2"))
    assert (code, stderr) == (0, [])
    assert len(stdout) == 3 + 4, "each line once, and one for each epoch"
    assert stdout[0] == "16 images, cpu, float32, 2 processes, batch norm statistics of each process's own images"
    assert all(f"epoch {epoch}/4, step {5 * epoch}/20: loss " in stdout[1 + epoch] for epoch in (1, 2, 3, 4))
    assert "20 steps" in stdout[-1]
    return results(folder)


@pytest.mark.slow
def test_one_is_killed_all_stop_and_the_same_command_goes_on(
    tmp_path: Path, dataset: Path, undisturbed: list[bytes]
) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    command = [*FRCNN, *TRAIN, "--nproc", "2"]
    process = begin(folder, command)
    wait_for(folder / "checkpoints" / "phase1" / "last.pt", process)
    processes = ranks(process)
    assert sorted(processes) == [0, 1]
    os.kill(processes[1], signal.SIGKILL)
    code, _, stderr = finish(process)
    assert code == 1
    assert stderr == [
        "error: rank 1 of 2 was killed by SIGKILL; the others were stopped; "
        "the same command goes on from checkpoints/phase1/last.pt"
    ]
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes.values())
    assert not (folder / RESULTS[0]).exists()

    code, stdout, stderr = finish(begin(folder, command))
    assert (code, stderr) == (0, [])
    assert "going on after step" in stdout[1]
    assert results(folder) == undisturbed


@pytest.mark.slow
def test_stopped_by_sigterm_and_gone_on_with_torchrun(tmp_path: Path, dataset: Path, undisturbed: list[bytes]) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    process = begin(folder, [*FRCNN, *TRAIN, "--nproc", "2"])
    wait_for(folder / "checkpoints" / "phase1" / "last.pt", process)
    process.send_signal(signal.SIGTERM)
    code, stdout, stderr = finish(process)
    assert (code, stderr) == (143, ["stopped by SIGTERM"])
    assert stdout[-1:] == ["stopped; the same command goes on from checkpoints/phase1/last.pt"]

    code, stdout, stderr = finish(begin(folder, [*TORCHRUN, *TRAIN], nproc="2"))
    assert code == 0, stderr
    assert "2 processes" in stdout[0]
    assert "going on after step" in stdout[1]
    assert len(stdout) == len(set(stdout))
    assert results(folder) == undisturbed


@pytest.mark.slow
def test_a_users_mistake_is_told_once(tmp_path: Path, dataset: Path) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    (folder / "data" / "anchors.h5").unlink()
    code, stdout, stderr = finish(begin(folder, [*FRCNN, *TRAIN, "--nproc", "2"]))
    assert (code, stdout) == (2, [])
    assert stderr == ["error: data/anchors.h5: no such file; run `frcnn anchors`"]


@pytest.fixture(scope="module")
def detectable(dataset: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a dataset of its own and weights that learned nothing."""
    folder = tmp_path_factory.mktemp("detectable")
    shutil.copytree(dataset, folder / "data" / "dataset")
    shutil.copy(PRESETS / "demo.yaml", folder / "params.yaml")
    write_random_weights(folder / "data" / "models" / "phase2.safetensors", dataset, params)
    return folder


@pytest.mark.slow
def test_detections_are_the_same_bytes_and_a_bad_picture_is_told_once(detectable: Path) -> None:
    data = detectable / "data"
    command = [*FRCNN, "detect", "--device", "cpu", *options(DETECT)]
    for nproc in ("1", "2"):
        code, stdout, stderr = finish(begin(detectable, [*command, "--out", f"{nproc}.h5"], nproc))
        assert (code, stderr) == (0, [])
        assert len(stdout) == 1
    assert (detectable / "1.h5").read_bytes() == (detectable / "2.h5").read_bytes()

    picture = data / "dataset" / "JPEGImages" / "test_00003.jpg"  # the second batch, and so the second process
    picture.write_bytes(picture.read_bytes()[:500])
    code, stdout, stderr = finish(begin(detectable, [*command, "--nproc", "2", "--out", "3.h5"]))
    assert (code, stdout, len(stderr)) == (2, [], 1)
    assert "test_00003.jpg: unreadable picture" in stderr[0]
    assert not (detectable / "3.h5").exists()


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody asked about yet does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def listening(pids: Iterable[int]) -> set[str]:
    """Return the addresses, in hexadecimal, on which processes listen."""
    found, inodes = set(), set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.slow
@pytest.mark.parametrize("command", [[*TRAIN, "-S", "train_phase1.epochs=60"], ["detect", *options(DETECT)]])
def test_nothing_listens_for_other_machines_and_the_meeting_place_is_private(
    tmp_path: Path, dataset: Path, params: Params, command: list[str]
) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    write_random_weights(folder / "data" / "models" / "phase2.safetensors", dataset, params)
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    process = start(folder, *FRCNN, *command, "--nproc", "2", OMP_NUM_THREADS="1", TMPDIR=str(meeting))
    seen: set[str] = set()
    modes: set[int] = set()
    while process.poll() is None and not (folder / "checkpoints" / "phase1" / "last.pt").exists():
        with suppress(OSError):
            seen |= listening([process.pid, *ranks(process).values()])
            modes |= {path.stat().st_mode & 0o777 for path in meeting.glob("frcnn-*")}
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)  # nothing where it has ended
    code, _, stderr = finish(process)
    assert code == (143 if command[0] == "train" else 0), stderr
    assert seen, "they talk over sockets"
    assert seen <= LOOPBACK
    assert modes == {0o700}
    assert not any(meeting.glob("frcnn-*"))


@pytest.mark.slow
def test_processes_end_with_their_launcher(tmp_path: Path, dataset: Path) -> None:
    folder = training_folder(tmp_path / "work", dataset)
    process = begin(folder, [*FRCNN, *TRAIN, "--nproc", "2", "-S", "train_phase1.epochs=60"])
    wait_for(folder / "checkpoints" / "phase1" / "last.pt", process)
    processes = ranks(process)
    process.kill()
    process.communicate(timeout=60)  # waits until nobody holds the pipes any more
    deadline = time.monotonic() + 60
    while any(map(alive, processes.values())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("codes", "expected", "said"),
    [
        ({1: -9, 0: LOST_PEER}, 1, "rank 1 of 2 was killed by SIGKILL; the others were stopped; run the same command"),
        ({0: LOST_PEER, 1: -11}, 1, "rank 1 of 2 was killed by SIGSEGV"),
        ({1: 2, 0: -15}, 2, ""),
        ({0: 1, 1: -9}, 1, ""),
        ({0: LOST_PEER, 1: 143}, 143, ""),
        ({0: 130, 1: 130}, 130, ""),
        ({1: -15, 0: LOST_PEER}, 143, ""),
        ({0: LOST_PEER, 1: LOST_PEER}, 1, "the processes lost each other; run the same command again"),
    ],
    ids=[
        "killed", "seen second", "mistake", "ours, another hung", "stopped", "Ctrl-C", "stopped early", "network",
    ],
)  # fmt: skip
def test_the_launcher_says_what_no_process_could(
    codes: dict[int, int], expected: int, said: str, capsys: pytest.CaptureFixture
) -> None:
    assert _exit_code(codes, 2, Path("none")) == expected
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") if said else error == ""
