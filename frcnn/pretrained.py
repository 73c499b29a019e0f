"""Find the file of initial weights that `model.weights` names, fetching published ones into the user's cache."""

from pathlib import Path

from frcnn.backbones import BACKBONES
from frcnn.errors import UserError
from frcnn.fetching.cache import Progress, fetch
from frcnn.fetching.published import CAFFE_VGG16, Published
from frcnn.files import project_path, sha256_file
from frcnn.params import Model


def find_initial_weights(model: Model, on_progress: Progress | None = None) -> Path | None:
    """Return the file, verified against `model.weights_sha256` where given; None for `none`.

    Args:
        on_progress: called with (bytes fetched, bytes of the whole file if the server tells).

    Raises:
        UserError: there is no such file, it cannot be fetched, or its digest is another.
    """
    if model.weights == "none":
        return None
    if model.weights == "caffe":
        if model.backbone != "vgg16":
            raise UserError(f"model.weights: caffe fits the backbone vgg16, not {model.backbone}; use imagenet")
        return _fetch(CAFFE_VGG16, model, on_progress)
    if model.weights == "imagenet":
        if model.backbone == "vgg16":
            raise UserError("model.weights: imagenet fits vgg16-torch; vgg16 takes Caffe's weights: use caffe")
        return _fetch(imagenet_weights(model.backbone), model, on_progress)
    return _local_file(project_path(model.weights), model.weights_sha256)


def imagenet_weights(backbone: str) -> Published:
    """Return torchvision's ImageNet weights (IMAGENET1K_V1) for any backbone but `vgg16`."""
    from torchvision.models import get_model_weights

    network = BACKBONES[backbone].body or backbone.removesuffix("-torch")
    return _published(get_model_weights(network)["IMAGENET1K_V1"].url)


def coco_weights(backbone: str) -> Published:
    """Return torchvision's detector for COCO with a feature pyramid."""
    from torchvision.models import get_weight

    return _published(get_weight(f"{BACKBONES[backbone].coco}.COCO_V1").url)


def figures_of(backbone: str) -> dict[str, float]:
    """Return what torchvision publishes of its detector for COCO: millions of weights, GFLOP, average precision, MB."""
    from torchvision.models import get_weight

    meta = get_weight(f"{BACKBONES[backbone].coco}.COCO_V1").meta
    return {
        "parameters": meta["num_params"] / 1e6,
        "GFLOP": meta["_ops"],
        "AP": meta["_metrics"]["COCO-val2017"]["box_map"],
        "MB": meta["_file_size"],
    }


def _published(url: str) -> Published:
    """Return a file of torchvision, whose name ends with the first digits of its digest."""
    name = url.rsplit("/", 1)[1]
    return Published(name, (url,), name.removesuffix(".pth").rsplit("-", 1)[1])


def _fetch(file: Published, model: Model, on_progress: Progress | None) -> Path:
    return fetch(file.name, file.urls, model.weights_sha256 or file.sha256, on_progress)


def _local_file(path: Path, expected: str | None) -> Path:
    if not path.is_file():
        raise UserError(f"model.weights: {path}: no such file; name a file, or none, imagenet, caffe or coco")
    if expected and (actual := sha256_file(path)) != expected.lower():
        raise UserError(f"{path}: SHA-256 is {actual}, model.weights_sha256 expects {expected}")
    return path
