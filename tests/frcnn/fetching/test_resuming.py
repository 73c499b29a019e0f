"""Transfers that break off: what is resumed, what starts over, and how long a server is waited for."""

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from frcnn.errors import UserError
from frcnn.fetching import cache as module
from frcnn.fetching.cache import fetch
from tests.frcnn.fetching.serving import (
    BODY,
    OTHER,
    Server,
    answer,
    say,
)

pytestmark = pytest.mark.usefixtures("cache")


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
