"""A server whose every byte a test decides."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

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
