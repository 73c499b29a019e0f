"""One network in several processes: gradients averaged, batch norms synchronized (torch's DistributedDataParallel)."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from frcnn.distributed import rank, world


def replicate(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network as a module whose gradients are averaged over all processes.

    Batch norms that are trained get their statistics from the whole batch on CUDA, on a CPU (torch knows no other way)
    from the images of each process.
    """
    if world() == 1:
        return model
    if device.type == "cuda":
        synchronize_norms(model)
    return DistributedDataParallel(model)


def synchronize_norms(model: nn.Module) -> None:
    """Replace the batch norms that are trained, in place; frozen ones stay, names and tensors too."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d) and child.weight.requires_grad:
                setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))


def averaging(network: nn.Module, now: bool) -> AbstractContextManager:
    """Return a context for forward and backward; unless `now`, gradients are kept and averaged at the next time."""
    return nullcontext() if now or not isinstance(network, DistributedDataParallel) else network.no_sync()


def mean_of_batch(values: Tensor, count: int) -> Tensor:
    """Return what this process has to differentiate to get the gradient of the mean over a batch of `count` images.

    That is its share of the mean, times the number of processes, over which gradients are averaged.

    Args:
        values: (n,) of own images; of a process without any, (1,) of another's image, which does not count.
    """
    own = len(range(rank(), count, world()))
    return values[:own].sum() * world() / count


def share_buffers(model: nn.Module) -> None:
    """Copy running statistics from the main process to the others."""
    if world() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
