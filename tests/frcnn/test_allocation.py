"""Memory that is kept is not asked for again; the default can be had back."""

import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from frcnn.allocation import keep_freed_memory, return_freed_memory
if sys.argv[1] != "untouched":
    keep_freed_memory()
if sys.argv[1] == "returned":
    return_freed_memory()
for _ in range(20):  # until the pieces that aligning cuts off are enough to go round
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
def test_freed_memory_is_used_again() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", STEPS, how], check=True, capture_output=True, text=True).stdout)
        for how in ("untouched", "kept", "returned")
    }
    assert faults["kept"] * 10 < faults["untouched"], faults
    assert faults["kept"] * 10 < faults["returned"], faults
