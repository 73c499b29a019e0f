"""A sample of what `make crash` does in full, see `tests/crash/__main__.py`."""

import os
import subprocess
import sys

import pytest

from tests.factories import ROOT


@pytest.mark.slow
def test_a_stage_that_is_killed_at_any_operation_can_be_run_again() -> None:
    sample = {"FRCNN_CRASH_POINTS": os.environ.get("FRCNN_CRASH_POINTS", "12"), "FRCNN_CRASH_KILLS": "0"}
    environment = os.environ | sample | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.crash"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
