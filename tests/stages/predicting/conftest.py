"""A detector that is not real, pictures, and a server, for `frcnn predict`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from frcnn import frameworks
from frcnn.params.types import Framework
from tests.factories import QuietHandler, serve
from tests.stages.predicting.calls import FakeDetector


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple]:
    """Put the detector in place, in a folder without params.yaml; return what is asked of it."""
    asked: list[tuple] = []

    def load_detector(weights: Path, device: str, framework: Framework) -> FakeDetector:
        asked.append((weights, device, framework))
        return FakeDetector(asked)

    monkeypatch.setattr(frameworks, "load_detector", load_detector)
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures and what is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (600, 500), "grey").save(folder / "one.jpg")
    Image.new("L", (100, 80)).save(folder / "two.PNG")
    (folder / "notes.txt").write_text("no picture")
    (folder / "._one.jpg").write_text("companion of macOS")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status = {"/none.jpg": 404, "/away": 302}.get(self.path, 200)
            body = b"<html>" if self.path == "/page" else (folder / "one.jpg").read_bytes()
            self.send_response(status)
            length = {"/huge": 1 << 40, "/short": len(body) + 1}.get(self.path, len(body))
            self.send_header("Content-Length", str(length))
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            self.wfile.write(body)

    with serve(Handler) as address:
        yield address
