"""Start several processes of a command on this machine with torch's own launcher, and be one of them.

torchrun starts such processes, too, on any number of machines; each knows by its environment that it is one of several.
"""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from .console import error_console
from .interrupt import stop_with_parent

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

Nproc = Annotated[
    int, typer.Option("--nproc", min=1, metavar="N", help="Processes that share the work.", envvar="FRCNN_NPROC")
]
RUN_ID = "frcnn"
LOST_PEER = 75  # exit code of a process that ends only because another did (sysexits.h: try again)
# Exit codes of processes that were stopped, in Popen's and in the shell's manner, to the shell's.
STOPPED = {code: 128 + number for number in (signal.SIGINT, signal.SIGTERM) for code in (-number, 128 + number)}


def launched() -> bool:
    """Tell whether a launcher started this process as one of a number (which may be 1)."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(processes: int, checkpoint: Path | None = None) -> None:
    """Run this very command in several processes; return when all have ended well, else exit.

    Args:
        checkpoint: what the same command goes on from, for the message.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    if "--debug" not in sys.orig_argv:
        logging.disable(logging.CRITICAL)  # of the launcher, which is all that this process does from here on
    stop_with_parent()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")  # seconds for a step and a checkpoint
    with TemporaryDirectory(prefix="frcnn-") as logs:  # nothing is logged there, but the launcher wants it
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            logs_specs=DefaultLogsSpecs(logs),
            run_id=RUN_ID,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            signals_to_handle="SIGTERM,SIGINT",
        )
        try:
            elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
        except SignalException as stop:
            error_console.print(f"stopped by {stop.sigval.name}", highlight=False)
            raise SystemExit(128 + stop.sigval) from None
        except ChildFailedError as error:
            raise SystemExit(_exit_code(error.failures, processes, checkpoint)) from None


def _exit_code(failures: "dict[int, ProcessFailure]", processes: int, checkpoint: Path | None) -> int:
    """Say what has not been said by a process itself, and return the exit code of the first that failed."""
    codes = {rank: failure.exitcode for rank, failure in failures.items()}  # the first to fail comes first
    guilty = {rank: code for rank, code in codes.items() if code not in STOPPED and code != LOST_PEER}
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
    error_console.print(f"error: {text}", style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def member(device: str) -> Iterator[None]:
    """Do the block as one of several processes, if a launcher started this one as such.

    A process that ends only because another did says nothing: that one, or the launcher, has told what happened.
    """
    if not launched() or os.environ["WORLD_SIZE"] == "1":
        yield
        return
    from frcnn import distributed

    stop_with_parent()
    try:
        # Until all have joined torch waits without asking Python, so signals have to end the process by themselves.
        usual = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
        distributed.join(device)
        for number, handler in usual.items():
            signal.signal(number, handler)
        yield
        distributed.part()
    except SystemExit as stop:
        leave(int(stop.code or 0))
    except RuntimeError as error:
        if not distributed.is_lost_peer(error):
            raise
        if os.environ.get("TORCHELASTIC_RUN_ID") != RUN_ID:  # then who started this does not know its exit code
            _complain(f"rank {os.environ['RANK']} lost another process ({str(error).partition(chr(10))[0]})")
        leave(LOST_PEER)


def leave(code: int) -> None:
    """End this process at once: after an error torch's own end of a group may wait for the others, or abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
