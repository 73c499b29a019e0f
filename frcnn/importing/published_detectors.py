"""torchvision's detectors trained on COCO, as weights files of this project in the user's cache."""

from pathlib import Path

from frcnn.detector.weights_file import VERSION, write_weights
from frcnn.errors import UserError
from frcnn.fetching.cache import Progress, fetch
from frcnn.files import locked, sha256_file
from frcnn.params import Model
from frcnn.pretrained import coco_weights, find_initial_weights

ANY = "coco"  # of `model.weights`: the detector with the backbone that is set
NAMES = {
    "coco-mobilenet-320": "mobilenet-v3-320-fpn",
    "coco-mobilenet": "mobilenet-v3-fpn",
    "coco-resnet50": "resnet50-fpn",
    "coco-resnet50-v2": "resnet50-fpn-v2",
}
DEFAULT = "coco-mobilenet"  # where nothing says which: quick on a CPU


def is_coco(weights: str) -> bool:
    """Tell whether weights are named that this module finds."""
    return weights == ANY or weights in NAMES


def find_detector(weights: Path, on_progress: Progress | None = None) -> Path:
    """Return a weights file as it is, or that of the detector that a name such as `coco-resnet50` stands for.

    Raises:
        UserError: there is no such name, or as `coco_detector`.
    """
    if weights.exists() or not str(weights).startswith(ANY):
        return weights
    if not is_coco(str(weights)):
        raise UserError(f"{weights}: no such file or name; choose from {ANY}, {', '.join(NAMES)}, or name a file")
    return coco_detector(str(weights), on_progress)


def find_start(model: Model, on_progress: Progress | None = None) -> Path | None:
    """Return the file of weights, or of a detector, that `model.weights` names; None for `none`.

    Raises:
        UserError: as `find_coco_start` and `frcnn.pretrained.find_initial_weights`.
    """
    find = find_coco_start if is_coco(model.weights) else find_initial_weights
    return find(model, on_progress)


def find_coco_start(model: Model, on_progress: Progress | None = None) -> Path:
    """Return the weights file that `model.weights` names.

    Raises:
        UserError: there is none for the backbone, or as `coco_detector`.
    """
    fitting = {backbone: name for name, backbone in NAMES.items()}
    if model.backbone not in fitting:
        raise UserError(
            f"model.weights: {model.weights} is for a backbone with a pyramid ({', '.join(fitting)}), "
            f"not {model.backbone}"
        )
    if model.weights not in (ANY, fitting[model.backbone]):
        raise UserError(f"model.weights: {model.weights} is for model.backbone: {NAMES[model.weights]}; set that")
    return coco_detector(fitting[model.backbone], on_progress, model.weights_sha256)


def coco_detector(name: str, on_progress: Progress | None = None, sha256: str | None = None) -> Path:
    """Return the weights file of a detector; what torchvision publishes is fetched and converted at the first time.

    Args:
        name: `coco`, the default, or a key of `NAMES`.
        on_progress: called with (bytes fetched, bytes of the whole file if the server tells).
        sha256: of torchvision's file, if more of it is known than the digits in its name.

    Raises:
        UserError: the file cannot be fetched, or its digest is another.
    """
    backbone = NAMES[DEFAULT if name == ANY else name]
    published = coco_weights(backbone)
    source = fetch(published.name, published.urls, sha256 or published.sha256, on_progress)
    converted = source.with_suffix(f".frcnn-{VERSION}.safetensors")
    with locked(converted.with_name(f"{converted.name}.lock"), wait=True):
        if not converted.is_file():
            _convert(source, converted, backbone)
    return converted


def _convert(source: Path, target: Path, backbone: str) -> None:
    from frcnn.importing.convert import detector_weights, imported_config
    from frcnn.importing.torchvision_detectors import COCO_CLASSES, recognize_torchvision_detector
    from frcnn.training.initial_weights import read_torch, state_dict_in

    digest = sha256_file(source)
    found = recognize_torchvision_detector(state_dict_in(read_torch(source), source), digest, str(source))
    if found.backbone != backbone:
        raise UserError(f"{source}: holds {found.layout}, not {backbone}; remove it and fetch it again")
    config = imported_config(found, COCO_CLASSES)
    provenance = {"sha256": digest, "layout": found.layout}
    write_weights(target, config, detector_weights(found, config, str(source)), provenance)
