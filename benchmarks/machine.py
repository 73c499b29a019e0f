"""Describe the machine that figures were measured on, and the memory that they took."""

import datetime
import gc
import os
import platform
import resource
import sys
from pathlib import Path

import torch
import torchvision

MEBIBYTE = 2**20


def describe(device: torch.device) -> dict[str, str]:
    """Return what a reader of the figures must know about machine and software, in words."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": _cpu_name(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak begin at what is in use now; that of a process on the CPU cannot be reset."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def allocated_memory(device: torch.device) -> float:
    """Return in MiB what tensors take on a CUDA device now; 0 on the CPU, where it is not known."""
    return torch.cuda.memory_allocated(device) / MEBIBYTE if device.type == "cuda" else 0.0


def peak_memory(device: torch.device) -> float:
    """Return in MiB the most that tensors took on a CUDA device, or the most that this process had resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEBIBYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEBIBYTE if sys.platform == "darwin" else peak / 1024  # bytes there, KiB elsewhere


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
