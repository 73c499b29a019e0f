"""Names from files never steer the terminal."""

import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.table import Table

from frcnn.errors import UserError
from stages.terminal import console
from tests.factories import FRCNN, voc_object, write_voc

HOSTILE = "\x1b]0;title\x07\x1b[2J\u202etxt\r[red]x[/nothing]"
SHOWN = r"\x1b]0;title\x07\x1b[2J\u202etxt\r[red]x[/nothing]"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    text = io.StringIO()
    for name in ("console", "error_console"):
        monkeypatch.setattr(console, name, Console(file=text, force_terminal=True, color_system=None, width=200))
    return text


def test_lines_and_tables(terminal: io.StringIO) -> None:
    console.say(HOSTILE)
    assert terminal.getvalue() == f"{SHOWN}\n"
    table = Table()
    table.add_row(console.cell(HOSTILE))
    console.console.print(table)
    assert SHOWN in terminal.getvalue() and "\x1b" not in terminal.getvalue()


def test_errors(terminal: io.StringIO) -> None:
    console.report_error(UserError(HOSTILE, "a\nb"))
    assert terminal.getvalue() == f"error: {SHOWN.replace(chr(92) + 'r', ' ')}\nerror: a b\n"


def test_an_encoding_of_few_characters(tmp_path: Path) -> None:
    write_voc(tmp_path / "d", {"a": voc_object("猫")}, classes=None)
    command = [*FRCNN, "check", "d", "--params", "demo"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert r"\u732b" in done.stdout


def test_progress(terminal: io.StringIO) -> None:
    with console.amount_bar(HOSTILE) as report:
        report(1, 2)
    assert list(console.track([1], HOSTILE, 1)) == [1]
    assert SHOWN in terminal.getvalue() and "\x1b]0" not in terminal.getvalue()


def test_a_line_a_minute_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: now))

    def work(count: int) -> Iterator[int]:
        nonlocal now
        for number in range(count):
            now += 7
            yield number

    assert list(console.track(work(20), "predicting", 20)) == list(range(20))
    assert capsys.readouterr().out.splitlines() == [
        "predicting: 9 of 20, 0.14/s, 0:01:17 left",
        "predicting: 18 of 20, 0.14/s, 0:00:14 left",
    ]
    monkeypatch.setenv("RANK", "1")
    assert len(list(console.track(work(20), "predicting", 20))) == 20
    assert capsys.readouterr().out == ""
