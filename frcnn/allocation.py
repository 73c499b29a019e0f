"""Let the C library keep memory that is freed, since every step allocates the same large tensors again.

By default glibc returns a freed tensor of many megabytes to the system, and the next one is made of pages that the
system has to fill with zeros at first touch: a quarter of a VGG-16 training step in bfloat16 on two cores.
"""

import ctypes

# Numbers of mallopt(3). Beside each: the value that keeps memory, and what glibc's default grows to by itself.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
KEEP = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
DEFAULT = {MMAP_MAX: 65536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}


def keep_freed_memory() -> None:
    """Keep freed memory from now on; without glibc (macOS, musl) nothing changes."""
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
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
