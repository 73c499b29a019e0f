import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.fetching import cache as module
from frcnn.fetching.cache import cache_folder, fetch
from tests.factories import QuietHandler, serve

BODY = bytes(range(256)) * 4000  # 1 MB
DIGEST = hashlib.sha256(BODY).hexdigest()
CLOSED = "http://127.0.0.1:9/file"  # nobody listens there


class Server:
    """A server whose manners a test chooses; `ranges` are the Range headers it has been asked with."""

    def __init__(self) -> None:
        self.body = BODY
        self.sent = len(BODY)  # bytes after which the connection breaks
        self.resumes = True
        self.status: list[int] = []  # error codes to answer first
        self.ranges: list[str | None] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.resumes else 0
        if start >= len(self.body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(self.body)}")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        handler.send_header("Content-Length", str(len(self.body) - start))
        handler.end_headers()
        handler.wfile.write(self.body[start : start + self.sent])
        handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            server.answer(self)

    with serve(Handler) as address:
        server.url = f"{address}/file"
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    return tmp_path / "cache"


def test_the_cache_is_the_users_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRCNN_CACHE")
    assert cache_folder().is_absolute()
    assert "frcnn" in cache_folder().parts


@pytest.mark.parametrize("digest", [DIGEST, DIGEST.upper(), DIGEST[:8], None])
def test_a_file_is_fetched_once(server: Server, cache: Path, digest: str | None) -> None:
    seen: list[tuple[int, int | None]] = []
    for _ in range(2):
        assert fetch("f", [server.url], digest, lambda *state: seen.append(state)) == cache / "f"
    assert (cache / "f").read_bytes() == BODY
    assert len(server.ranges) == 1
    assert seen[-1] == (len(BODY), len(BODY))
    assert not (cache / "f.part").exists()


def test_a_broken_connection_is_resumed_where_it_broke(server: Server) -> None:
    server.sent = 300_000
    assert fetch("f", [server.url], DIGEST).read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_the_next_call_resumes(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "f.part").write_bytes(BODY[:1000])
    assert fetch("f", [server.url], DIGEST).read_bytes() == BODY
    assert server.ranges == ["bytes=1000-"]


def test_a_server_that_ignores_ranges_starts_over(server: Server, cache: Path) -> None:
    server.resumes = False
    cache.mkdir()
    (cache / "f.part").write_bytes(BODY[:1000])
    assert fetch("f", [server.url], DIGEST).read_bytes() == BODY


@pytest.mark.parametrize(
    ("part", "requests"), [(BODY, 1), (BODY + b"more", 2)], ids=["complete already", "longer than the file"]
)
def test_nothing_left_to_send(server: Server, cache: Path, part: bytes, requests: int) -> None:
    cache.mkdir()
    (cache / "f.part").write_bytes(part)
    assert fetch("f", [server.url], DIGEST).read_bytes() == BODY
    assert len(server.ranges) == requests


def test_without_a_checksum_nothing_is_resumed_from_an_earlier_call(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "f.part").write_bytes(b"of another file")
    assert fetch("f", [server.url], None).read_bytes() == BODY


def test_a_wrong_file_is_removed_and_both_digests_named(server: Server, cache: Path) -> None:
    server.body = b"an error page"
    with pytest.raises(UserError) as caught:
        fetch("f", [server.url], DIGEST)
    assert DIGEST in str(caught.value)
    assert hashlib.sha256(b"an error page").hexdigest() in str(caught.value)
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_mirrors_are_tried_in_order(server: Server) -> None:
    assert fetch("f", [CLOSED, "no address", server.url, CLOSED], DIGEST).read_bytes() == BODY


def test_errors_that_pass_are_waited_for(server: Server) -> None:
    server.status = [503, 429, 500]
    assert fetch("f", [server.url], DIGEST).read_bytes() == BODY


def test_when_nothing_answers_all_is_listed(server: Server, cache: Path) -> None:
    server.status = [404]
    with pytest.raises(UserError) as caught:
        fetch("f", [CLOSED, server.url], DIGEST)
    line = str(caught.value)
    assert f"{CLOSED} (Connection refused)" in line
    assert f"{server.url} (HTTP 404" in line
    assert f"put the file at {cache / 'f'}" in line
    assert len(server.ranges) == 1  # 404 is final


def test_a_server_that_never_sends_anything_is_given_up(server: Server) -> None:
    server.sent = 0
    with pytest.raises(UserError, match="closed after 0 of"):
        fetch("f", [server.url], DIGEST)
    assert len(server.ranges) == module.RETRIES


def test_a_cached_file_is_hashed_once_and_again_when_it_changed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    (cache / "f").write_bytes(BODY)
    hashed: list[Path] = []
    original: Callable[[Path], str] = module.sha256_file
    monkeypatch.setattr(module, "sha256_file", lambda path: hashed.append(path) or original(path))
    for _ in range(3):
        fetch("f", [], DIGEST)
    assert len(hashed) == 1
    with pytest.raises(UserError, match="wrong checksum"):
        fetch("f", [], "0" * 64)  # another digest is compared with the note
    (cache / "f").write_bytes(b"damaged")
    with pytest.raises(UserError, match="wrong checksum"):
        fetch("f", [], DIGEST)
    assert (cache / "f").read_bytes() == b"damaged"


def test_two_at_once_do_not_disturb_each_other(server: Server) -> None:
    server.sent = 200_000
    results: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch("f", [server.url], DIGEST).read_bytes())) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [BODY] * 3
    assert server.ranges.count(None) == 1


def test_disk_full(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "open_url", full)
    with pytest.raises(UserError, match=r"cannot be written: No space left.*FRCNN_CACHE"):
        fetch("f", [server.url], DIGEST)
    assert not (cache / "f").exists()


def test_a_cache_that_cannot_be_made(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        fetch("f", [CLOSED], DIGEST)
    assert cache.read_text() == "a file"
