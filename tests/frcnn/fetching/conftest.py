"""A server that says what a test wants, and short deadlines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from frcnn import picture_sources
from frcnn.fetching import cache as module
from frcnn.fetching import http as client
from tests.frcnn.fetching.serving import SECONDS, Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    for name, value in (("BACKOFF", 0.001), ("RETRIES", 2), ("MOST_BYTES", 4 << 20)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(picture_sources, "MOST_BYTES", 4 << 20)
    monkeypatch.setattr(client, "TIMEOUT", SECONDS)
    monkeypatch.setattr(client, "LEAST_SECONDS", SECONDS)
    return tmp_path / "cache"
