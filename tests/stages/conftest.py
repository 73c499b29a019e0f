"""Run a command in this process."""

import signal
import sys

import pytest

from frcnn.signals import SIGNALS
from stages import cli
from tests.factories import Command


@pytest.fixture
def frcnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `frcnn ARGUMENTS` in this process; return exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["frcnn", *arguments])
        usual = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            with pytest.raises(SystemExit) as exit_:
                cli.main()
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)
        printed = capsys.readouterr()
        return exit_.value.code, printed.out.strip(), printed.err.strip()

    return run
