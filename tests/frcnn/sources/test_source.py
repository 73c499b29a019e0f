"""The name of an archive in the cache is one file name on every system."""

import pytest

from frcnn.sources.source import resolve


@pytest.mark.parametrize("end", ["my%20set.zip", "a%5C..%5C..%5Cx.zip", "a:b%3F.zip", "%2E%2E%2Fx", "dots..."])
def test_addresses(end: str) -> None:
    [archive] = resolve(f"https://host/folder/{end}?query=1", None, {"my set.zip": "0" * 64})
    assert set(archive.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
    assert archive.sha256 == ("0" * 64 if "20" in end else None)
