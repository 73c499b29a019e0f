"""Command `models`: what a detector can start from."""

from pathlib import Path

from .terminal.console import cell, console, say


def run() -> None:
    """List the detectors and classification networks to start from, and which are in the cache; write nothing."""
    from rich.table import Table

    from frcnn.backbones import BACKBONES
    from frcnn.fetching.cache import cache_folder
    from frcnn.fetching.published import CAFFE_VGG16
    from frcnn.importing.published_detectors import NAMES
    from frcnn.pretrained import coco_weights, figures_of, imagenet_weights

    cache = cache_folder()
    detectors, networks = (Table(box=None, pad_edge=False) for _ in range(2))
    for table in (detectors, networks):
        for column in ("model.weights", "model.backbone"):
            table.add_column(column, no_wrap=True)
    for column in ("10^6\nweights", "\nGFLOP", "COCO\nAP", "\nMB"):
        detectors.add_column(column, justify="right")
    for table in (detectors, networks):
        table.add_column("in the cache")
    for name, backbone in NAMES.items():
        figures = [f"{value:.1f}" for value in figures_of(backbone).values()]
        detectors.add_row(cell(name), cell(backbone), *figures, _cached(cache / coco_weights(backbone).name))
    for backbone in BACKBONES:
        name, file = ("caffe", CAFFE_VGG16) if backbone == "vgg16" else ("imagenet", imagenet_weights(backbone))
        networks.add_row(cell(name), cell(backbone), _cached(cache / file.name))
    say("Detectors trained on COCO by torchvision, with its figures; also for `frcnn predict --weights NAME`:")
    console.print(detectors)
    say("Classification networks trained on ImageNet:")
    console.print(networks)
    say(f"Training also starts from any weights file of a detector, see docs/weights.md. The cache: {cache}")


def _cached(path: Path) -> str:
    return "yes" if path.is_file() else "no"
