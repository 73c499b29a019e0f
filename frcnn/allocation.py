"""The most memory that this process took; and how the C library keeps what is freed, since a step allocates it again.

By default glibc returns a freed tensor of many megabytes to the system, and the next one is made of pages that the
system has to fill with zeros at first touch: a quarter of a VGG-16 training step in bfloat16 on two cores.
"""

import ctypes
import sys

# Numbers of mallopt(3). Beside each: the value that keeps memory, and what glibc's default grows to by itself.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
DEFAULT = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}


def peak_memory() -> float:
    """Return in MiB the most that this process had resident."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def keep_freed_memory() -> None:
    """Keep freed memory from now on; without glibc (macOS, musl, Windows) nothing changes."""
    _set(KEEP)


def return_freed_memory() -> None:
    """Return what is free now, and allocate as glibc does by default from now on."""
    _set(DEFAULT)
    if libc := _glibc():
        libc.malloc_trim(0)


def _set(values: dict[int, int]) -> None:
    if libc := _glibc():
        for name, value in values.items():
            libc.mallopt(name, value)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform == "win32":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
