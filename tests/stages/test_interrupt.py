"""The wish to stop: one signal asks, its echo changes nothing, a later one stops at once."""

import signal
from collections.abc import Iterator

import pytest

from stages.terminal import interrupt
from stages.terminal.interrupt import stop_on_signal


@pytest.fixture
def deaths() -> Iterator[list[int]]:
    """Note instead of dying."""
    noted: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
    yield noted
    signal.signal(signal.SIGTERM, before)


def test_a_signal_asks_and_its_echo_is_ignored(deaths: list[int]) -> None:
    with stop_on_signal() as wish:
        assert not wish()
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert wish()
        assert wish.received == signal.SIGTERM
    assert deaths == []
    signal.raise_signal(signal.SIGTERM)
    assert deaths == [signal.SIGTERM], "afterwards it is as before"


def test_a_later_signal_has_its_usual_effect(deaths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "ECHO", -1.0)
    with stop_on_signal():
        signal.raise_signal(signal.SIGTERM)
        assert deaths == []
        signal.raise_signal(signal.SIGTERM)
    assert deaths == [signal.SIGTERM]
