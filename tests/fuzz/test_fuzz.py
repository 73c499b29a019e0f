"""A sample of what `make fuzz` does in full, see `tests/fuzz/__main__.py`."""

import os
import random
import subprocess
import sys

import pytest

from tests.factories import ROOT
from tests.fuzz.mutate import BINARY, TEXT, damage, mutate


@pytest.mark.parametrize("text", [False, True])
def test_a_mutant_differs_and_is_the_same_for_the_same_seed(text: bool) -> None:
    good = b"learning_rate: 0.001\nepochs: 10\n"
    mutants = [mutate(good, text, random.Random(seed)) for seed in range(200)]
    assert good not in mutants
    assert len(set(mutants)) > 150
    assert mutants == [mutate(good, text, random.Random(seed)) for seed in range(200)]


@pytest.mark.parametrize("kind", sorted({*BINARY, *TEXT}))
def test_every_damage_takes_the_shortest_file(kind: str) -> None:
    found = {damage(kind, data, random.Random(seed)) for data in (b"", b"7 8\n9\n") for seed in range(100)}
    assert len(found) > 2


@pytest.mark.slow
def test_a_damaged_file_is_refused_in_a_line_or_read_right() -> None:
    environment = os.environ | {"FRCNN_FUZZ": os.environ.get("FRCNN_FUZZ", "60"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.fuzz"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
