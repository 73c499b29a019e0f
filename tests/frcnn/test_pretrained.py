"""Initial weights by name: fetched once through the cache, verified, and refused where they do not fit."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.fetching.published import Published
from frcnn.params import load_params
from frcnn.pretrained import find_initial_weights
from tests.factories import ROOT, FolderHandler, serve

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a stand-in named as torchvision names its files, and an empty cache."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / f"resnet18-{SHA256[:8]}.pth").write_bytes(CONTENT)
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    with serve(partial(FolderHandler, directory=folder)) as address:
        yield address


def find(*overrides: str) -> Path | None:
    return find_initial_weights(load_params(ROOT / "params.yaml", overrides).model)


def test_none_is_none() -> None:
    assert find("model.weights=none", "model.norm=trained", "model.freeze_at=0") is None


def test_torchvisions_file_is_fetched_once_and_verified(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"resnet18-{SHA256[:8]}.pth"
    here = Published(name, (f"{server}/{name}",), SHA256[:8])
    monkeypatch.setattr("frcnn.pretrained.imagenet_weights", lambda backbone: here)
    choice = ("model.backbone=resnet18", "model.weights=imagenet")
    path = find(*choice)
    assert path is not None
    assert path.read_bytes() == CONTENT
    gone = Published(f"{name}gone", (f"{server}/{name}gone",), SHA256[:8])
    monkeypatch.setattr("frcnn.pretrained.imagenet_weights", lambda backbone: gone)
    path.rename(path.with_name(path.name + "gone"))
    assert find(*choice) == path.with_name(path.name + "gone")  # from the cache: the server has no such file
    with pytest.raises(UserError, match="wrong checksum"):
        find(*choice, f"model.weights_sha256={'a' * 64}")


def test_the_caffe_weights_put_into_the_cache_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path))
    (tmp_path / "vgg16_caffe.pth").write_bytes(CONTENT)
    assert find(f"model.weights_sha256={SHA256}") == tmp_path / "vgg16_caffe.pth"
    with pytest.raises(UserError, match="wrong checksum"):
        find()  # not the published file


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (("model.backbone=resnet50",), "caffe fits the backbone vgg16, not resnet50"),
        (("model.backbone=vgg16-torch",), "caffe fits the backbone vgg16, not vgg16-torch"),
        (("model.weights=imagenet",), "imagenet fits vgg16-torch"),
        (("model.weights=some/file.pth",), "some/file.pth: no such file"),
    ],
)
def test_what_does_not_fit_is_refused(choice: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find(*choice)
