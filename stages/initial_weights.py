"""Find the file of initial weights that `model.weights` names, fetching published ones into the user's cache."""

from collections.abc import Sequence
from pathlib import Path

from frcnn.errors import UserError
from frcnn.files import sha256_file
from frcnn.params import Params


def find_initial_weights(params: Params) -> Path | None:
    """Return the file, verified against `model.weights_sha256` where given; None for `none`.

    Raises:
        UserError: there is no such file, it cannot be fetched, or its digest is another.
    """
    model = params.model
    if model.weights == "none":
        return None
    if model.weights == "caffe":
        if model.backbone != "vgg16":
            raise UserError(f"model.weights: caffe fits the backbone vgg16, not {model.backbone}; use imagenet")
        from frcnn.sources.published import CAFFE_VGG16

        return _fetch(CAFFE_VGG16.name, CAFFE_VGG16.urls, model.weights_sha256 or CAFFE_VGG16.sha256)
    if model.weights == "imagenet":
        from frcnn.model.pretrained import torchvision_url

        if model.backbone == "vgg16":
            raise UserError("model.weights: imagenet fits vgg16-torch; vgg16 prepares pictures as Caffe did: use caffe")
        url, prefix = torchvision_url(model.backbone)
        return _fetch(url.rsplit("/", 1)[1], [url], model.weights_sha256 or prefix)
    return _given_file(Path(model.weights), model.weights_sha256)


def _fetch(name: str, urls: Sequence[str], sha256: str | None) -> Path:
    from frcnn.sources.fetch import fetch
    from stages.console import amount_bar

    with amount_bar("fetching weights", "MB", 1e-6) as on_progress:
        return fetch(name, urls, sha256, on_progress)


def _given_file(path: Path, expected: str | None) -> Path:
    if not path.is_file():
        raise UserError(f"model.weights: {path} is no file; give one, or none, imagenet or caffe")
    if expected and (found := sha256_file(path)) != expected.lower():
        raise UserError(f"{path}: SHA-256 is {found}, model.weights_sha256 expects {expected}")
    return path
