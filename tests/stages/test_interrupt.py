"""The wish to stop: one signal asks, its echo changes nothing, a later one stops at once."""

import signal
import time
from collections.abc import Iterator

import pytest

from frcnn.signals import SIGNALS
from stages.terminal import interrupt
from stages.terminal.interrupt import exit_by_signal, handle_signals, stop_on_signal


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handle signals as the commands do, and as before afterwards."""
    numbers = (*SIGNALS, *([signal.SIGALRM] if hasattr(signal, "SIGALRM") else []))
    before = {number: signal.getsignal(number) for number in numbers}
    handle_signals()
    yield
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    vars(interrupt.stop).clear()


def test_a_signal_leaves_by_an_exception() -> None:
    with pytest.raises(SystemExit) as left:
        signal.raise_signal(signal.SIGINT)
    assert left.value.code == 130


def test_a_signal_asks_and_its_echo_is_ignored() -> None:
    with stop_on_signal() as wish:
        assert not wish()
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert wish()
        assert wish.received == signal.SIGTERM
    with pytest.raises(SystemExit) as left:
        exit_by_signal()
    assert left.value.code == 143


def test_a_later_signal_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "ECHO", -1.0)
    with stop_on_signal():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(signal.SIGTERM)
    assert left.value.code == 143


@pytest.mark.parametrize("missing", [(), ("SIGALRM", "setitimer")], ids=["POSIX", "Windows"])
def test_a_signal_amid_an_import_is_granted_after_it(monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...]) -> None:
    importing = iter([True, True])
    monkeypatch.setattr(interrupt, "_in_whole", lambda frame: next(importing, False))
    for name in missing:
        monkeypatch.delattr(signal, name, raising=False)
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        for _ in range(500):
            time.sleep(0.01)
    assert left.value.code == 143
    assert next(importing, None) is None
