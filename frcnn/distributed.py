"""Several processes that work as one (torch.distributed): each takes a share of every batch, gradients are averaged.

Their number changes a result by rounding alone. A launcher starts them and names each in its environment, as torchrun
does (RANK, WORLD_SIZE, LOCAL_RANK, ...). Without `join` this process is rank 0 of 1 and nothing here waits or sends.
What is said between processes here goes over the CPU, so that no host waits for its device; gradients do not.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from frcnn.errors import UserError

TIMEOUT = timedelta(hours=2)  # a launcher notices a dead process at once; this is for one that waits for ever
T = TypeVar("T")


def join(device: str, store: str | None = None) -> None:
    """Work together with the processes that the same launcher started, from now on; `device` as in `own_device`.

    After an error nobody can be told: the process has to end, which the others notice (`is_lost_peer`).

    Args:
        store: the file by which processes of one machine find each other; None: by torchrun's server, to which PyTorch
            lets everyone who can reach it.
    """
    cuda = device != "cpu" and torch.cuda.is_available()
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if store is None:
        dist.init_process_group(backend, timeout=TIMEOUT)
        return
    processes = int(os.environ["WORLD_SIZE"])
    file = dist.FileStore(store, processes)  # type: ignore[attr-defined]
    file.set_timeout(TIMEOUT)
    dist.init_process_group(backend, store=file, rank=int(os.environ["RANK"]), world_size=processes, timeout=TIMEOUT)


def part() -> None:
    """End what `join` began, when every process has done its work."""
    barrier()
    dist.destroy_process_group()


def is_lost_peer(error: RuntimeError) -> bool:
    """Tell whether an error means that another process ended, or cannot be reached, while this one waited for it."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)  # gloo's errors have no type of their own


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Tell whether this process is the one that writes files and messages."""
    return rank() == 0


def local_world() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world() > 1 else 1


def own_device(name: str) -> str:
    """Return the device of this process for `auto`, `cpu` or `cuda`: on CUDA each process has one of its own.

    Raises:
        UserError: one device for several processes, fewer devices than processes, or mps.
    """
    if world() == 1 or name == "cpu":
        return name
    if name.startswith("mps"):
        raise UserError(f"--device {name}: torch cannot join processes there; start one, or use --device cpu")
    if not torch.cuda.is_available():
        return "cpu" if name == "auto" else name  # never mps
    if name not in ("auto", "cuda"):
        raise UserError(f"--device {name}: one device for {world()} processes; use cuda, cpu or auto")
    if local_world() > torch.cuda.device_count():
        raise UserError(
            f"{local_world()} processes, but this machine has {torch.cuda.device_count()} CUDA devices; "
            "start fewer, or use --device cpu"
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def barrier() -> None:
    """Wait until every process is here."""
    any_of(False)


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process do the block before the others, so that a user's mistake is told once."""
    if not is_main():
        barrier()
    yield
    if is_main():
        barrier()


def any_of(*flags: bool) -> list[bool]:
    """Return for each flag whether it is set in any process."""
    if world() == 1:
        return list(flags)
    together = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(together, dist.ReduceOp.MAX)
    return together.bool().tolist()


def require_same(state: Any, message: str) -> None:
    """Require that a state is the same in every process.

    Raises:
        UserError: with the message, in the first process where it differs from the main one's.
    """
    if world() == 1:
        return
    states: list[Any] = [None] * world()
    dist.all_gather_object(states, state)
    differing = [number for number, other in enumerate(states) if other != states[0]]
    if differing[:1] == [rank()]:
        raise UserError(message)


def share(items: Sequence[T], run: int = 1) -> list[T]:
    """Return what this process takes of items that are dealt out in runs of `run`."""
    return [item for place, item in enumerate(items) if place // run % world() == rank()]


def in_order(own: list[T], run: int = 1) -> list[T]:
    """Return the results of all processes for the items of `share`, in the order of the items, in every process."""
    if world() == 1:
        return own
    parts: list[Any] = [None] * world()
    dist.all_gather_object(parts, own)
    dealt = [iter(part) for part in parts]
    return [next(dealt[place // run % world()]) for place in range(sum(map(len, parts)))]


def place(values: Tensor, count: int) -> Tensor:
    """Return own values (L, n) at the places of this process's images in a batch of `count`: (L, count), else 0."""
    if world() == 1:
        return values
    places = range(rank(), count, world())
    placed = values.new_zeros(len(values), count)
    placed[:, rank() :: world()] = values[:, : len(places)]
    return placed


def add_up(values: Tensor) -> Tensor:
    """Return the sum of the values of all processes, on the CPU."""
    values = values.cpu()
    if world() > 1:
        dist.all_reduce(values)
    return values
