"""The HTTP client: open an address, read its body; everything that can go wrong is a `TransferError`.

Nothing that a server says is believed: it may lie about lengths, send without end or stop at any byte.
"""

import email.utils
import http.client
import io
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from string import punctuation
from typing import Any, NamedTuple

from frcnn import __version__

CHUNK = 1 << 18  # bytes
TIMEOUT = 30  # seconds without a byte
LEAST_BYTES, LEAST_SECONDS = 1 << 16, 60  # so many bytes of a body in so many seconds; so many seconds for the headers
REDIRECTS = 10
LONGEST_WAIT = 120  # seconds that a server may ask us to wait
LONGEST_REASON = 160  # characters


class TransferError(Exception):
    """A transfer failed.

    Attributes:
        again: whether another attempt at the same address may succeed.
        restart: whether the bytes got so far are of no use to it.
        wait: seconds that the server asks to wait before.
    """

    def __init__(self, reason: object, again: bool = True, restart: bool = False, wait: float = 0) -> None:
        """Keep the reason, which a server may have written, as the message."""
        super().__init__(" ".join(str(reason).split())[:LONGEST_REASON])
        self.again, self.restart, self.wait = again, restart, wait


class Answer(NamedTuple):
    """A file as a server sends it; `chunks` raises `TransferError` where it ends too early or comes too slowly."""

    start: int  # 0, or the byte that was asked for
    total: int | None  # bytes of the whole file, if the server tells
    validator: str | None  # tells this content of the address from others, if the server has such a thing
    chunks: Iterator[bytes]


@contextmanager
def open_url(
    url: str, most_bytes: int, seconds: float, first_byte: int = 0, validator: str | None = None
) -> Iterator[Answer]:
    """Open an http(s) address and yield the file, of at most `most_bytes`, that has to come in so many seconds.

    The server may leave out the bytes before `first_byte` if its content still has this validator.

    Raises:
        TransferError: no answer, one that breaks the protocol, or one with an error.
    """
    headers = {"User-Agent": f"frcnn/{__version__}"}
    if first_byte:
        headers |= {"Range": f"bytes={first_byte}-"} | ({"If-Range": validator} if validator else {})
    clock = _Clock(seconds)
    with _failures():
        response = _follow(clock, url, headers)
    with response:
        if first_byte and response.status == 416 and _only(response, "Content-Range") == f"bytes */{first_byte}":
            yield Answer(first_byte, first_byte, None, iter(()))  # there is no more
            return
        start, total = _span(response, first_byte)
        yield Answer(start, total, _validator(response), _read(clock, response, start, total, most_bytes))


class _Connected(io.RawIOBase):
    """What http.client reads headers and body from: each reading has the time that is left."""

    # A server that sends a byte now and then never meets the timeout of a socket; requests and httpx have no other.

    def __init__(self, connected: socket.socket, clock: "_Clock") -> None:
        self.connected, self.clock = connected, clock
        self.file = connected.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.connected.settimeout(min(TIMEOUT, self.clock.left()))
        return self.file.readinto(buffer)

    def close(self) -> None:
        self.file.close()
        super().close()


class _Clock(urllib.request.AbstractHTTPHandler):
    """Makes connections that have to end by `last`, and by `end`, which moves as bytes come."""

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.last = time.monotonic() + seconds
        self.go_on()

    def go_on(self) -> None:
        self.end = min(self.last, time.monotonic() + LEAST_SECONDS)

    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("not finished in time" if self.end == self.last else "too slow")
        return left

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(partial(self._connection, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(partial(self._connection, http.client.HTTPSConnection), request)

    def _connection(self, kind: Callable[..., Any], host: str, timeout: float) -> Any:
        made = kind(host, timeout=min(timeout, self.left()))
        made.response_class = lambda connected, **named: http.client.HTTPResponse(_Connected(connected, self), **named)  # type: ignore[arg-type]
        return made


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what goes wrong in the block into a `TransferError`."""
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:  # overflow: of a port
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        refused = cause is not error and not isinstance(
            cause, TimeoutError | ConnectionResetError | ConnectionAbortedError
        )
        final = refused or isinstance(error, ValueError | OverflowError | http.client.InvalidURL)
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise TransferError(reason, again=not final) from error


def _follow(clock: _Clock, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Return the first answer that is no redirect; urllib would read the bodies of redirects, however long."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(clock)
    for _ in range(REDIRECTS + 1):
        if not url.lower().startswith(("http://", "https://")):
            raise TransferError(f"{url[: LONGEST_REASON // 2]}: only http and https are opened", again=False)
        response: Any = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        if response.status not in (301, 302, 303, 307, 308):
            return response
        with response:
            location = urllib.parse.quote(_only(response, "Location"), safe=punctuation, encoding="iso-8859-1")
        before, url = url, urllib.parse.urljoin(url, location)
        if before.lower().startswith("https:") and url.lower().startswith("http:"):
            raise TransferError("redirected from https to http, which anybody may change", again=False)
    raise TransferError(f"more than {REDIRECTS} redirects", again=False)


def _span(response: http.client.HTTPResponse, first_byte: int) -> tuple[int, int | None]:
    """Return (first byte of the body, bytes of the whole file or None) of an answer that is as it should be."""
    status = response.status
    if status == 416 and first_byte:
        raise TransferError("the server has less than was there already", restart=True)
    if status != 200 and not (status == 206 and first_byte):
        again = status == 429 or status >= 500
        raise TransferError(f"HTTP {status} {response.reason}", again, wait=_wait(_only(response, "Retry-After")))
    packed = _only(response, "Content-Encoding").lower()
    archive = packed in ("gzip", "x-gzip") and response.url.partition("?")[0].endswith(("gz", "gzip"))  # Apache says so
    if not (packed in ("", "identity") or archive) or (_only(response, "Transfer-Encoding") and not response.chunked):
        raise TransferError("the body has an encoding that was not asked for", again=False)
    length = "" if response.chunked else _only(response, "Content-Length")
    if length and not re.fullmatch("[0-9]{1,15}", length):
        raise TransferError(f"malformed Content-Length: {length}", again=False)
    if status == 200:
        return 0, int(length) if length else None
    found = re.fullmatch("bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})", _only(response, "Content-Range"))
    start, last, total = map(int, found.groups()) if found else (-1, -1, -1)
    if start != first_byte or not start <= last < total or (length and int(length) != last + 1 - start):
        raise TransferError("the server resumes elsewhere than asked", restart=True)
    return start, total


def _read(
    clock: _Clock, response: http.client.HTTPResponse, start: int, total: int | None, most_bytes: int
) -> Iterator[bytes]:
    position = counted = start
    while True:
        if max(position, total or 0) > most_bytes:
            raise TransferError(f"larger than {most_bytes >> 20:,} MB", again=False, restart=True)
        with _failures():
            chunk = response.read1(CHUNK)
        if not chunk:
            break
        position += len(chunk)
        if position - counted >= LEAST_BYTES:
            counted = position
            clock.go_on()
        yield chunk
    if total is not None and position != total:
        raise TransferError(f"connection closed after {position} of {total} bytes", restart=position > total)
    if not position:
        raise TransferError("the server sent an empty file", again=False)


def _only(response: http.client.HTTPResponse, name: str) -> str:
    """Return the value of a header, "" if there is none."""
    values = {str(value).strip() for value in response.headers.get_all(name, [])}
    if len(values) > 1:
        raise TransferError(f"several headers {name} that differ", again=False)
    return values.pop() if values else ""


def _validator(response: http.client.HTTPResponse) -> str | None:
    """Return the strong entity tag, else the time of the last change."""
    for name, form in (("ETag", '"[!#-~]{1,200}"'), ("Last-Modified", r"[\w,: ]{1,40}")):
        if re.fullmatch(form, value := _only(response, name), re.ASCII):
            return value
    return None


def _wait(text: str) -> float:
    """Return the seconds that a header Retry-After asks for, at most `LONGEST_WAIT`."""
    try:
        date = 0 if text.isdecimal() else email.utils.parsedate_to_datetime(text).timestamp()
        seconds = date - time.time() if date else int(text[:9])
    except (ValueError, OverflowError):
        seconds = 0
    return min(max(seconds, 0), LONGEST_WAIT)
