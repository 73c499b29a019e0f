"""Leave the tests out where TensorFlow is not installed; else import torchvision before it.

Triton, which torchvision loads, crashes after TensorFlow.
"""

from importlib.util import find_spec

import pytest
import torchvision  # noqa: F401

INSTALLED = find_spec("tensorflow") is not None
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say that the tests were left out."""
    if not INSTALLED:
        terminalreporter.write_line("tests/frcnn/keras: left out; they need pip install '.[tensorflow]'")
