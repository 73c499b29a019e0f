"""Servers that lie, stall or never end: one clear line within the deadline, and no file under its final name."""

import hashlib
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from frcnn import picture_sources
from frcnn.errors import UserError
from frcnn.fetching import cache as module
from frcnn.fetching import http as client
from frcnn.fetching.cache import fetch

SECONDS = 0.3  # of each deadline here
BODY = bytes(range(256)) * 2000  # 512 kB
OTHER = BODY[::-1]
Reply = Callable[[str], Iterable[bytes]]


class Server:
    """Answers the n-th connection with the n-th reply, then with the last one for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/f.tar"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=self.listener.accept()[:1], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = connection.recv(65536).decode("latin-1")
            self.requests.append(request)
            reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
            for piece in reply(request):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # until the client closes: else what it has not read yet would be lost

    def asked(self, header: str) -> list[str | None]:
        """Return a header of each request."""
        lines = [dict(line.split(": ", 1) for line in text.split("\r\n")[1:] if line) for text in self.requests]
        return [each.get(header) for each in lines]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.listener.close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    for name, value in (("BACKOFF", 0.001), ("RETRIES", 2), ("MOST_BYTES", 4 << 20)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(picture_sources, "MOST_BYTES", 4 << 20)
    monkeypatch.setattr(client, "TIMEOUT", SECONDS)
    monkeypatch.setattr(client, "LEAST_SECONDS", SECONDS)
    return tmp_path / "cache"


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1") + body


def ok(*headers: str, body: bytes = b"") -> bytes:
    return answer("200 OK", *headers, body=body)


def say(*pieces: bytes) -> Reply:
    return lambda request: pieces


def drip(piece: bytes, first: bytes = b"", pause: float = SECONDS / 5) -> Reply:
    """Send one piece again and again, each long before a timeout of the socket."""

    def reply(request: str) -> Iterator[bytes]:
        yield first
        while True:
            time.sleep(pause)
            yield piece

    return reply


def flood(piece: bytes, first: bytes = b"") -> Reply:
    return lambda request: itertools.chain([first], itertools.repeat(piece))


def stall(first: bytes) -> Reply:
    return drip(b"", first)


def redirect(location: str) -> Reply:
    return say(answer("302 Found", f"Location: {location}", "Content-Length: 0"))


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


class Files:
    """Serves BODY, of which each answer breaks off, with what a test wants to lie about."""

    def __init__(self, sent: int = 200_000, headers: tuple[str, ...] = (), body: bytes = BODY) -> None:
        self.sent, self.headers, self.body = sent, headers, body
        self.ranges = True
        self.checks = True  # If-Range
        self.spans = "bytes {start}-{last}/{total}"

    def __call__(self, request: str) -> Iterator[bytes]:
        lines = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if line)
        start = int(lines.get("Range", "bytes=0-")[6:-1])
        known = lines.get("If-Range", "")
        if not self.ranges or (self.checks and known and not any(known in each for each in self.headers)):
            start = 0
        total = len(self.body)
        if start >= total:
            yield answer("416 No", f"Content-Range: bytes */{total}", "Content-Length: 0")
            return
        span = self.spans.format(start=start, last=total - 1, total=total)
        status = ("206 Partial Content", f"Content-Range: {span}") if start else ("200 OK",)
        yield answer(*status, f"Content-Length: {total - start}", *self.headers)
        yield self.body[start : start + self.sent]


ETAG, CHANGED = ('ETag: "one"',), ('ETag: "two"',)


@pytest.mark.parametrize("digest", [None, hashlib.sha256(BODY).hexdigest()], ids=["", "verified"])
@pytest.mark.parametrize("most", [200_000, 1], ids=["starts over", "a byte at a time"])
def test_a_server_that_gets_nowhere_is_given_up(server: Server, digest: str | None, most: int) -> None:
    files = Files(most, ETAG)
    files.ranges = most == 1
    server.replies = [files]
    with pytest.raises(UserError, match="closed after"):
        fetch("f", [server.url], digest)
    assert len(server.requests) <= module.RETRIES + 1


@pytest.mark.parametrize(
    ("headers", "resumed"),
    [
        ((), False),
        (ETAG, True),
        (('ETag: W/"one"',), False),
        (('ETag: "o\x07ne"',), False),
        (("Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT",), True),
        (('ETag: W/"one"', "Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT"), True),
    ],
)
def test_without_checksum_only_a_validator_lets_it_resume(
    server: Server, cache: Path, headers: tuple[str, ...], resumed: bool
) -> None:
    server.replies = [Files(headers=headers), Files(len(BODY), headers)]
    assert fetch("f", [server.url], None).read_bytes() == BODY
    assert server.asked("Range") == [None, "bytes=200000-" if resumed else None]
    assert server.asked("If-Range") == [None, headers[-1].split(": ", 1)[1] if resumed else None]
    assert sorted(path.name for path in cache.iterdir()) == ["f", "f.lock"]


@pytest.mark.parametrize("checks", [True, False], ids=["If-Range is honored", "If-Range is ignored"])
@pytest.mark.parametrize("headers", [CHANGED, ()])
def test_parts_of_two_files_are_never_joined(server: Server, checks: bool, headers: tuple[str, ...]) -> None:
    other = Files(len(BODY), headers, OTHER)
    other.checks = checks
    server.replies = [Files(headers=ETAG), other]
    assert fetch("f", [server.url], None).read_bytes() == OTHER


def test_the_next_call_knows_which_file_a_part_belongs_to(server: Server, cache: Path) -> None:
    digest = hashlib.sha256(OTHER).hexdigest()
    server.replies = [Files(headers=ETAG), say()]
    with pytest.raises(UserError):
        fetch("f", [server.url], digest)
    assert (cache / "f.part").read_bytes() == BODY[:200_000]
    server.requests.clear()
    server.replies = [Files(len(BODY), CHANGED, OTHER)]
    assert fetch("f", [server.url], digest).read_bytes() == OTHER
    assert server.asked("If-Range") == ['"one"']
    assert sorted(path.name for path in cache.iterdir()) == ["f", "f.lock"]


def test_a_mirror_is_not_asked_with_the_validator_of_another(server: Server, cache: Path) -> None:
    server.replies = [Files(headers=ETAG), say(answer("404 Gone")), Files(len(BODY), CHANGED)]
    digest = hashlib.sha256(BODY).hexdigest()
    assert fetch("f", [server.url, server.url + "?mirror"], digest).read_bytes() == BODY
    assert server.asked("If-Range") == [None, '"one"', None]
    assert server.asked("Range") == [None, "bytes=200000-", "bytes=200000-"]


@pytest.mark.parametrize(
    "span",
    [
        "",
        "nonsense",
        "bytes 0-{last}/{total}",
        "bytes 200001-{last}/{total}",
        "bytes {start}-{total}/{total}",
        "bytes {start}-{last}/*",
        "bytes {start}-{last}/200001",
        "bytes {start}-1/{total}",
        "bytes -5-{last}/{total}",
        "bytes {start}-300000/{total}",
    ],
)
def test_a_wrong_range_starts_over(server: Server, span: str) -> None:
    liar = Files(headers=ETAG)
    liar.spans = span
    server.replies = [Files(headers=ETAG), liar, Files(len(BODY), ETAG)]
    assert fetch("f", [server.url], None).read_bytes() == BODY
    assert server.asked("Range")[2] is None


def test_a_server_may_send_less_than_the_rest(server: Server) -> None:
    def less(request: str) -> Iterator[bytes]:
        span = f"Content-Range: bytes 200000-299999/{len(BODY)}"
        yield answer("206 Partial Content", span, "Content-Length: 100000", *ETAG, body=BODY[200_000:300_000])

    server.replies = [Files(headers=ETAG), less, Files(len(BODY), ETAG)]
    assert fetch("f", [server.url], None).read_bytes() == BODY
    assert server.asked("Range") == [None, "bytes=200000-", "bytes=300000-"]


def test_a_server_may_not_send_more_than_the_rest(server: Server) -> None:
    def more(request: str) -> Iterator[bytes]:
        rest = len(BODY) - 200_000
        span = f"Content-Range: bytes 200000-{len(BODY) - 1}/{len(BODY)}"
        yield answer("206 Partial Content", span, "Connection: close", *ETAG, body=b"x" * rest + b"more")

    server.replies = [Files(headers=ETAG), more, Files(len(BODY), ETAG)]
    assert fetch("f", [server.url], None).read_bytes() == BODY
    assert server.asked("Range")[2] is None


def test_a_part_is_not_the_whole_because_a_server_says_so(server: Server) -> None:
    nothing_more = say(answer("416 No", "Content-Range: bytes */200000", *ETAG))
    server.replies = [Files(headers=ETAG), nothing_more, Files(len(BODY), ETAG)]
    assert fetch("f", [server.url], None).read_bytes() == BODY


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("7", 7, 7),
        ("99999", 120, 120),
        ("9" * 5000, 120, 120),
        ("-5", 0, 1),
        ("soon", 0, 1),
        ("\xb2", 0, 1),
        ("in a minute", 55, 60),
        ("Thu, 31 Dec 9999 23:59:59 GMT", 120, 120),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0, 1),
        ("Thu, 99 Jan 99999 00:00:00", 0, 1),
    ],
)
@pytest.mark.parametrize("status", ["503 Busy", "429 Too Many Requests"])
def test_a_server_may_ask_to_wait(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: str, text: str, least: float, most: float
) -> None:
    if text == "in a minute":
        text = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    waited: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited.append))
    server.replies = [say(answer(status, f"Retry-After: {text}")), Files(len(BODY))]
    assert fetch("f", [server.url], None).read_bytes() == BODY
    assert least <= waited[0] <= most


def test_no_waiting_beyond_the_deadline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SECONDS", 5)
    server.replies = [say(answer("503 Busy", "Retry-After: 60"))]
    with pytest.raises(UserError, match="HTTP 503 Busy"):
        fetch("f", [server.url], None)
    assert len(server.requests) == 1
