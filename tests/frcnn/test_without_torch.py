"""What is said where PyTorch is not installed."""

import subprocess
import sys

import pytest

from tests.factories import ROOT

BLOCK = 'import sys; sys.modules["torch"] = sys.modules["torchvision"] = None; '
SAID = "torch is not installed; pip install torch torchvision"
COMMAND = "sys.argv = ['frcnn', {}]; from stages.cli import main; main()"


@pytest.mark.parametrize(
    "call",
    ["load('x.safetensors')", "load('x.safetensors', framework='tensorflow')", "evaluate('x.safetensors', 'data')"],
)
def test_a_call_names_what_is_missing(call: str) -> None:
    code = f"{BLOCK}import frcnn\ntry:\n    frcnn.{call}\nexcept frcnn.UserError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith(("torch is not", "torchvision is not"))
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "'predict', 'docs/demo.jpg', '--weights', 'x.safetensors'",
        "'detect', '--weights', 'x.safetensors'",
        "'train', '--phase', '1'",
        "'import-weights', 'docs/demo.jpg', '--out', 'x.safetensors'",
    ],
)
def test_a_command_names_what_is_missing(arguments: str) -> None:
    code = BLOCK + COMMAND.format(arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {SAID}")
    assert done.stderr.count("\n") == 1


def test_another_missing_module_is_ours() -> None:
    code = "import sys; sys.modules['pydantic'] = None; " + COMMAND.format("'check'")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "internal error: ModuleNotFoundError" in done.stderr
