"""Stage `download`: from any source to a dataset in VOC layout."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from frcnn.errors import UserError

from .terminal import options
from .terminal.console import amount_bar, say

if TYPE_CHECKING:
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.fetching.published import Published
    from frcnn.params import Download, Synthetic

MADE_BY = "Made by `frcnn download`, which replaces this folder.\n"


def run(
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
    dataset: options.Dataset = options.DATASET,
    workers: options.Workers = None,
) -> None:
    """Read the source (VOC, an archive, a folder, or none: synthetic), write the dataset in VOC layout."""
    from frcnn.files import atomic_folder, write_text
    from frcnn.params import load_params
    from frcnn.sources.layout import MARKER
    from frcnn.unchanged import watch

    params = load_params(params_file, overrides or ())
    require_unchanged = watch("download", params_file, overrides or (), params, [])
    download = params.download
    with atomic_folder(dataset, MARKER) as scratch:
        if download.source == "synthetic":
            _draw(download.synthetic, scratch / "new", (os.cpu_count() or 1) if workers is None else workers)
        else:
            _install(download, dataset, scratch)
        write_text(scratch / "new" / MARKER, MADE_BY)
        require_unchanged()
    _say_counts(dataset)


def _draw(wanted: "Synthetic", folder: Path, workers: int) -> None:
    from frcnn.sources.synthetic import draw_dataset

    counts = (wanted.train_images, wanted.val_images, wanted.test_images)
    with amount_bar("draw") as report:
        draw_dataset(folder, *counts, wanted.seed, workers, report)


def _install(download: "Download", dataset: Path, scratch: Path) -> None:
    """Find the source's folders in VOC layout, unpacking archives into `scratch`, and join them in its "new"."""
    from frcnn.fetching.cache import verify
    from frcnn.sources.layout import find_roots, install
    from frcnn.sources.source import is_voc, resolve

    found = resolve(download.source, download.mirror, download.sha256)
    if isinstance(found, list):
        datasets = [each for archive in found for each in _unpack_fetched(archive, scratch)]
    elif found.is_dir():
        if found.resolve().is_relative_to(dataset.resolve()):
            raise UserError(f"download.source: {found} would be overwritten; move it or choose another --dataset")
        datasets = find_roots(found)
    else:
        if found.name in download.sha256:
            verify(found, download.sha256[found.name])
        datasets = _unpack(found, scratch)
    with amount_bar("install") as report:
        install(datasets, scratch / "new", download.classes, is_voc(download.source), report)


def _fetch(archive: "Published") -> Path:
    from frcnn.fetching.cache import fetch, verify

    with amount_bar(f"fetch {archive.name}", "MB", 1e-6) as report:
        path = fetch(archive.name, archive.urls, archive.sha256, report)
    if archive.sha256 is None:
        say(f"{path}: not verified; put its SHA-256 {verify(path, None)} into download.sha256 to have it verified")
    return path


def _unpack_fetched(archive: "Published", scratch: Path) -> "list[VocDataset]":
    path = _fetch(archive)
    try:
        return _unpack(path, scratch)
    except UserError as error:
        if archive.sha256 is None and str(error).startswith(f"{path}: "):
            path.unlink()  # a damaged body would answer for the address for ever
        raise


def _unpack(archive: Path, scratch: Path) -> "list[VocDataset]":
    from frcnn.sources.archive import unpack
    from frcnn.sources.layout import find_roots

    with amount_bar(f"unpack {archive.name}") as report:
        unpack(archive, scratch / archive.name, report)
    return find_roots(scratch / archive.name)


def _say_counts(dataset: Path) -> None:
    from frcnn.data.voc.dataset import VocDataset

    voc = VocDataset(dataset)
    counts = ", ".join(f"{split} {len(voc.split_lines(split))}" for split in voc.split_names)
    say(f"{dataset}: {len(voc.class_names)} classes; pictures: {counts}")
