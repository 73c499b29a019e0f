"""The HTTP client: open an address, read its body; everything that can go wrong is a `TransferError`."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator

from frcnn import __version__

CHUNK = 1 << 18  # bytes
TIMEOUT = 30  # seconds without a byte


class TransferError(Exception):
    """A transfer failed.

    Attributes:
        again: whether another attempt at the same address may succeed.
        beyond_end: for `open_url` from a byte on: the bytes of the whole file, which has none from there on.
    """

    def __init__(self, reason: object, again: bool = True, beyond_end: str | None = None) -> None:
        """Keep the reason as the message."""
        super().__init__(str(reason))
        self.again, self.beyond_end = again, beyond_end


def open_url(url: str, first_byte: int = 0) -> http.client.HTTPResponse:
    """Return the answer to a GET request, of which the server may leave out the bytes before `first_byte`.

    Raises:
        TransferError: no answer, or one with an error.
    """
    headers = {"User-Agent": f"frcnn/{__version__}"}
    if first_byte:
        headers["Range"] = f"bytes={first_byte}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416:
                total = error.headers.get("Content-Range", "").removeprefix("bytes */")
                raise TransferError("the server has less than was there already", beyond_end=total) from error
            again = error.code == 429 or error.code >= 500
            raise TransferError(f"HTTP {error.code} {error.reason}", again) from error
    except urllib.error.URLError as error:
        again = isinstance(error.reason, TimeoutError | ConnectionResetError)
        raise TransferError(getattr(error.reason, "strerror", None) or error.reason, again) from error
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(error) from error
    except ValueError as error:
        raise TransferError(error, again=False) from error


def read_chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body of an answer as it comes.

    Raises:
        TransferError: the connection broke.
    """
    while True:
        try:
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise TransferError(error) from error
        if not chunk:
            return
        yield chunk


def content_length(response: http.client.HTTPResponse) -> int | None:
    """Return the bytes of the body that the server announces, if it does."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None
