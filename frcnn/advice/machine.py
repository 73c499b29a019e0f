"""What this machine has for training, asked without loading torch."""

import ctypes
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, in bytes or "max"
GIB = 2**30


@dataclass(frozen=True)
class Machine:
    """Whether it has a CUDA device that torch can use, and the memory in GiB where the network is trained."""

    cuda: bool
    gibibytes: float


def this_machine() -> Machine:
    """Return what this machine has; of several CUDA devices the first."""
    if device := _cuda_bytes():
        return Machine(True, device / GIB)
    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):
        total = min(total, int(MEMORY_LIMIT.read_text(encoding="ascii")))
    return Machine(False, total / GIB)


def _cuda_bytes() -> int:
    """Return the memory of the first CUDA device; 0 where there is none, or torch was built for the CPU alone."""
    if "+cpu" in version("torch"):
        return 0
    size, count, device = ctypes.c_size_t(), ctypes.c_int(), ctypes.c_int()
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value
        failed = failed or driver.cuDeviceGet(ctypes.byref(device), 0)
        failed = failed or driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
    except (OSError, AttributeError):
        return 0
    return 0 if failed else size.value
