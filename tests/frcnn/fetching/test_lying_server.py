"""Servers that lie, stall or never end: one clear line within the deadline, and no file under its final name."""

import http.client
import time
from pathlib import Path

import pytest

from frcnn import picture_sources
from frcnn.errors import UserError
from frcnn.fetching import cache as module
from frcnn.fetching import http as client
from frcnn.fetching.cache import fetch
from tests.frcnn.fetching.serving import SECONDS, Reply, Server, answer, drip, flood, ok, redirect, say, stall

pytestmark = pytest.mark.usefixtures("cache")
CHUNKED = ok("Transfer-Encoding: chunked")
LIES = {
    "redirect to a file": (redirect("file:///etc/passwd"), "only http and https"),
    "redirect to FTP": (redirect("ftp://127.0.0.1/f"), "only http and https"),
    "redirect to data": (redirect("data:text/plain,hello"), "only http and https"),
    "redirect to itself": (redirect("/f.tar"), "more than 10 redirects"),
    "redirect without an address": (say(answer("301 Moved", "Content-Length: 0")), "more than 10 redirects"),
    "redirect to a bad host": (redirect("http://[::1/f"), "Invalid IPv6"),
    "redirect to a bad port": (redirect("http://127.0.0.1:99999999999999/f"), ""),
    "redirect to a name of control characters": (redirect("http://a\x1b[31m/"), ""),
    "redirect with an endless body": (flood(b"x" * 65536, answer("302 Found", "Location: file:///f")), "only http"),
    "two different redirects": (say(answer("302 Found", "Location: /a", "Location: /b")), "several headers Location"),
    "negative length": (say(ok("Content-Length: -5", body=b"hello")), "malformed Content-Length"),
    "length of letters": (say(ok("Content-Length: five", body=b"hello")), "malformed Content-Length"),
    "length of 5000 digits": (say(ok("Content-Length: " + "9" * 5000, body=b"hello")), "malformed Content-Length"),
    "huge length": (say(ok("Content-Length: 99999999999", body=b"hello")), "larger than 4 MB"),
    "two lengths": (say(ok("Content-Length: 5", "Content-Length: 4", body=b"hello")), "several headers Content-Length"),
    "list of lengths": (say(ok("Content-Length: 5, 5", body=b"hello")), "malformed Content-Length"),
    "shorter than said": (say(ok("Content-Length: 9", body=b"hello")), "closed after 5 of 9"),
    "chunk of no number": (say(CHUNKED + b"hello\r\n"), ""),
    "chunk that ends early": (say(CHUNKED + b"9\r\nhello"), "IncompleteRead"),
    "no last chunk": (say(CHUNKED + b"5\r\nhello\r\n"), "IncompleteRead"),
    "chunk with an endless extension": (drip(b"a", CHUNKED + b"5;"), "time"),
    "endless trailer": (drip(b"a: b\r\n", CHUNKED + b"5\r\nhello\r\n0\r\n"), ""),
    "unknown transfer encoding": (say(ok("Transfer-Encoding: rot13", body=b"hello")), "encoding"),
    "two transfer encodings": (say(ok("Transfer-Encoding: gzip, chunked", body=b"hello")), "encoding"),
    "packed unasked": (say(ok("Content-Encoding: br", "Content-Length: 5", body=b"hello")), "encoding"),
    "a part unasked": (say(answer("206 Partial Content", "Content-Range: bytes 0-4/5", body=b"hello")), "HTTP 206"),
    "no content": (say(answer("204 No Content")), "HTTP 204"),
    "reset content": (say(answer("205 Reset", "Content-Length: 5", body=b"hello")), "HTTP 205"),
    "not modified": (say(answer("304 Not Modified")), "HTTP 304"),
    "no more, unasked": (say(answer("416 No", "Content-Range: bytes */0")), "HTTP 416"),
    "status of four digits": (say(answer("2000 OK", body=b"hello")), ""),
    "status of letters": (say(answer("ok ok", body=b"hello")), ""),
    "early hints alone": (say(answer("103 Early Hints")), "HTTP 103"),
    "endless continues": (flood(answer("100 Continue")), ""),
    "no HTTP": (say(b"SSH-2.0-OpenSSH\r\n"), "SSH-2.0"),
    "a kilobyte of noise": (say(bytes(range(256)) * 4), ""),
    "nothing": (say(), "closed"),
    "empty file": (say(ok("Content-Length: 0")), "empty"),
    "empty file without a length": (say(ok()), "empty"),
    "control characters": (say(answer("404 \x1b[2J\x07\x00bell\x85" + "x" * 5000)), "HTTP 404"),
    "endless status line": (flood(b"x" * 1000), ""),
    "endless header": (flood(b"x" * 1000, b"HTTP/1.1 200 OK\r\nA: "), ""),
    "endless headers": (flood(b"A: b\r\n", b"HTTP/1.1 200 OK\r\n"), "100 headers"),
    "endless body": (flood(b"x" * 65536, ok()), "larger than 4 MB"),
    "endless chunks": (flood(b"1000\r\n" + b"x" * 4096 + b"\r\n", CHUNKED), "larger than 4 MB"),
    "no answer": (stall(b""), "timed out"),
    "stalled headers": (stall(b"HTTP/1.1 200 OK\r\n"), "timed out"),
    "stalled body": (stall(ok("Content-Length: 9", body=b"hello")), "timed out"),
    "dripping status line": (drip(b"H", b"HTTP/1.1 "), ""),
    "dripping headers": (drip(b"A: b\r\n", b"HTTP/1.1 200 OK\r\n"), ""),
    "dripping body": (drip(b"x", ok("Content-Length: 100000")), ""),
    "dripping chunks": (drip(b"1\r\nx\r\n", CHUNKED), ""),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_one_line_and_leaves_no_file(server: Server, cache: Path, lie: str) -> None:
    reply, words = LIES[lie]
    server.replies = [reply]
    before = time.monotonic()
    with pytest.raises(UserError) as caught:
        fetch("f", [server.url], None)
    assert time.monotonic() - before < module.RETRIES * (SECONDS + 0.5)
    check_line(str(caught.value), words)
    assert not (cache / "f").exists()


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_a_picture_is_one_line(server: Server, lie: str) -> None:
    reply, words = LIES[lie]
    server.replies = [reply]
    before = time.monotonic()
    with pytest.raises(UserError) as caught:
        picture_sources.read_input(server.url)
    assert time.monotonic() - before < SECONDS + 1
    assert len(server.requests) <= client.REDIRECTS + 1
    check_line(str(caught.value), words)


def check_line(line: str, words: str) -> None:
    assert "cannot be fetched: " in line
    assert words in line
    assert len(line.splitlines()) == 1
    assert len(line) < 600


def test_a_truth_after_all(server: Server, cache: Path) -> None:
    """Equal lengths said twice, a redirect with spaces, other letters, and an archive that Apache calls gzip."""
    server.url = server.url.replace("f.tar", "f.tgz")
    server.replies = [redirect("/a b/\xfc.tgz"), say(ok("content-length: 5", "Content-Length: 5", body=b"hello"))]
    assert fetch("f", [server.url], None).read_bytes() == b"hello"
    assert server.requests[1].startswith("GET /a%20b/%FC.tgz HTTP")
    server.replies = [say(ok("Content-Encoding: x-gzip", "Content-Length: 5", body=b"packs"))]
    assert fetch("g", [server.url], None).read_bytes() == b"packs"
    server.replies = [say(CHUNKED + b"5\r\nchunk\r\n0\r\n\r\n")]
    assert fetch("h", [server.url], None).read_bytes() == b"chunk"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/f", "data:,x", "/etc/passwd", ""])
def test_other_schemes_are_not_opened(cache: Path, url: str) -> None:
    with pytest.raises(UserError, match="only http and https"):
        fetch("f", [url], None)


def test_no_way_back_from_https(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.client, "HTTPSConnection", http.client.HTTPConnection)
    server.replies = [redirect(f"http://127.0.0.1:{server.port}/g"), say(ok("Content-Length: 5", body=b"hello"))]
    with pytest.raises(UserError, match="from https to http"):
        fetch("f", [server.url.replace("http:", "https:")], None)
    server.replies[0] = redirect(f"https://127.0.0.1:{server.port}/g")
    server.requests.clear()
    assert fetch("f", [server.url.replace("http:", "https:")], None).read_bytes() == b"hello"


def test_a_server_that_never_answers_in_tls(server: Server) -> None:
    server.replies = [stall(b"")]
    with pytest.raises(UserError, match="timed out"):
        picture_sources.read_input(server.url.replace("http:", "https:"))


@pytest.mark.parametrize("reply", [drip(b"x" * 70000, ok()), drip(b"A: b\r\n", ok()[:-2])], ids=["body", "headers"])
def test_all_together_has_a_deadline_too(server: Server, monkeypatch: pytest.MonkeyPatch, reply: Reply) -> None:
    """A body that comes fast enough at any time, and still takes too long."""
    monkeypatch.setattr(client, "LEAST_SECONDS", 60)
    monkeypatch.setattr(picture_sources, "MOST_SECONDS", 1)
    server.replies = [reply]
    with pytest.raises(UserError, match="not finished|timed out"):
        picture_sources.read_input(server.url)
