"""Start several processes of a command on this machine, and be one of them.

They meet in a private folder and talk over the loopback interface: nothing listens where others could reach it.
torchrun starts such processes, too, on any number of machines; each knows by its environment that it is one of several.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from frcnn.errors import UserError
from frcnn.signals import SIGNALS

from .console import report_error
from .interrupt import launched as launched
from .interrupt import leave, start, stop, stop_on_signal

Nproc = Annotated[
    int, typer.Option("--nproc", min=1, metavar="N", help="Processes that share the work.", envvar="FRCNN_NPROC")
]
STORE = "FRCNN_STORE"  # names the file by which the processes find each other
LOST_PEER = 75  # exit code of a process that ends only because another did (sysexits.h: try again)
# Exit codes of processes that were stopped, in Popen's and in the shell's manner, to the shell's.
STOPPED = {code: 128 + number for number in SIGNALS for code in (-number, 128 + number)}
TO_SAVE, TO_END = 600.0, 30.0  # seconds for a step and a checkpoint; for those whose peer is lost
POLL = 0.05  # seconds
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # on Windows every signal that is sent kills


def launch(processes: int, checkpoint: Path | None = None) -> None:
    """Run this very command in several processes; return when all have ended well or a signal stopped them, else exit.

    Args:
        checkpoint: what the same command goes on from, for the message.
    """
    command = [sys.executable, *sys.orig_argv[1:]]
    loopback = _loopback()
    with stop_on_signal(), TemporaryDirectory(prefix="frcnn-") as folder:  # which is its owner's alone
        common = {
            "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes)),
            **os.environ,
            STORE: str(Path(folder, "store")),
            "GLOO_SOCKET_IFNAME": loopback,
            "NCCL_SOCKET_IFNAME": f"={loopback}",
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }
        ranks: list[subprocess.Popen[bytes]] = []
        try:
            for rank in map(str, range(processes)):
                ranks.append(start(command, common | {"RANK": rank, "LOCAL_RANK": rank}))
            codes = wait_for_all(ranks)
        finally:
            for process in ranks:
                process.kill()  # nothing where it has ended
                process.wait()
    if any(codes.values()) and not stop():
        raise SystemExit(_exit_code(codes, processes, checkpoint))


def _loopback() -> str:
    if sys.platform == "win32":
        raise UserError("--nproc: several processes need Linux or macOS; use --nproc 1, or Linux on Windows (WSL)")
    for _, name in socket.if_nameindex():
        if name in ("lo", "lo0"):  # Linux, macOS
            return name
    raise UserError("--nproc: this machine has no loopback interface, over which the processes would talk")


def wait_for_all(
    processes: list[subprocess.Popen[bytes]],
    send: Callable[[subprocess.Popen[bytes], int], None] = subprocess.Popen.send_signal,
) -> dict[int, int]:
    """Wait for processes; once one has failed, or a signal came, stop the others: kindly, then by SIGKILL.

    Returns:
        exit codes by place in the list, in the order in which the processes ended.
    """
    codes: dict[int, int] = {}
    deadline = None
    with stop_on_signal():
        while True:
            ended = {place: code for place, each in enumerate(processes) if (code := each.poll()) is not None}
            codes |= {place: code for place, code in ended.items() if place not in codes}
            if len(codes) == len(processes):
                return codes
            number = None
            if deadline is None and (stop() or any(codes.values())):
                number, deadline = stop.received or signal.SIGTERM, time.monotonic() + (TO_SAVE if stop() else TO_END)
            elif deadline is not None and time.monotonic() > deadline:
                number = KILL
            if number is not None:
                for place in range(len(processes)):
                    if place not in codes:
                        send(processes[place], number)
            time.sleep(POLL)


def _exit_code(codes: dict[int, int], processes: int, checkpoint: Path | None) -> int:
    """Say what has not been said by a process itself, and return the exit code of the first that failed.

    Args:
        codes: exit codes by rank; the first to end comes first.
    """
    guilty = {rank: code for rank, code in codes.items() if code and code not in STOPPED and code != LOST_PEER}
    if not guilty:
        stopped = [STOPPED[code] for code in codes.values() if code in STOPPED]
        if not stopped:
            _complain(f"the processes lost each other; {_then(checkpoint)}")
        return stopped[0] if stopped else 1
    rank, code = next(iter(guilty.items()))
    if code >= 0:
        return code
    killed = f"rank {rank} of {processes} was killed by {signal.Signals(-code).name}; the others were stopped"
    _complain(f"{killed}; {_then(checkpoint)}")
    return 1


def _then(checkpoint: Path | None) -> str:
    saved = checkpoint is not None and checkpoint.exists()
    return f"the same command goes on from {checkpoint}" if saved else "run the same command again"


def _complain(text: str) -> None:
    report_error(UserError(text))


@contextmanager
def member(device: str) -> Iterator[None]:
    """Do the block as one of several processes, if a launcher started this one as such.

    A process that ends only because another did says nothing: that one, or the launcher, has told what happened.
    """
    if not launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    from frcnn import distributed

    try:
        # Until all have joined torch waits without asking Python, so signals have to end the process by themselves.
        usual = {number: signal.signal(number, signal.SIG_DFL) for number in SIGNALS}
        if stop.received is not None:  # and waits for the end of an import
            leave(128 + stop.received)
        distributed.join(device, os.environ.get(STORE))
        for number, handler in usual.items():
            signal.signal(number, handler)
        yield
        distributed.part()
    except SystemExit as exit_:
        leave(int(exit_.code or 0))
    except RuntimeError as error:
        if not distributed.is_lost_peer(error):
            raise
        if STORE not in os.environ:  # then who started this does not know its exit code
            _complain(f"rank {os.environ['RANK']} lost another process ({str(error).partition(chr(10))[0]})")
        leave(LOST_PEER)
