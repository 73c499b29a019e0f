"""Run a command in this process."""

import sys

import pytest

from stages import cli
from tests.factories import Command


@pytest.fixture
def frcnn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `frcnn ARGUMENTS` in this process; return exit code, stdout and stderr."""

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["frcnn", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        printed = capsys.readouterr()
        return exit_.value.code, printed.out.strip(), printed.err.strip()

    return run
