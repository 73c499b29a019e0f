import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from frcnn.data.voc.dataset import VocDataset
from frcnn.errors import UserError
from stages import download
from tests.factories import QuietHandler, serve, voc_object, write_voc


@pytest.mark.parametrize("page", [b"<html>Too many users</html>", None], ids=["page", "cut"])
def test_a_damaged_archive_without_checksum_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: bytes | None
) -> None:
    """A server that tells no length cuts the archive off, or sends a page: nothing but unpacking can notice."""
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_voc(tmp_path / "set", {"a": voc_object()})
    shutil.make_archive("set", "tar", "set")
    bodies = [page or Path("set.tar").read_bytes()[:7000], Path("set.tar").read_bytes()]

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bodies.pop(0))

    with serve(Handler) as address:
        overrides = [f"download.source={address}/set.tar"]
        with pytest.raises(UserError, match="(?s)truncated, damaged or no archive.*fetch it again"):
            download.run(Path("default"), overrides, Path("dataset"), 0)
        assert not list((tmp_path / "cache").glob("*.tar"))
        download.run(Path("default"), overrides, Path("dataset"), 0)
    assert len(VocDataset(Path("dataset")).split("trainval")) == 1
