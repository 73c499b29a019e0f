"""Stage `download`: from any source to a dataset in VOC layout."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from frcnn.errors import UserError

from .terminal import options
from .terminal.console import amount_bar, say

if TYPE_CHECKING:
    from frcnn.fetching.published import Published
    from frcnn.params import Params, Synthetic

MADE_BY = "Made by `frcnn download`, which replaces this folder.\n"


def run(
    params_file: options.ParamsFile = Path("params.yaml"),
    overrides: options.Overrides = None,
    dataset: options.Dataset = options.DATASET,
    workers: options.Workers = None,
) -> None:
    """Read the source (VOC, COCO or YOLO in a folder or an archive, or synthetic), write the dataset in VOC layout."""
    from frcnn.data.voc.problems import MARKER
    from frcnn.files import atomic_folder, write_text
    from frcnn.params import load_params
    from frcnn.unchanged import watch

    params = load_params(params_file, overrides or ())
    require_unchanged = watch("download", params_file, overrides or (), params, [])
    download, remarks = params.download, []
    with atomic_folder(dataset, MARKER) as scratch:
        if download.source == "synthetic":
            _draw(download.synthetic, scratch / "new", (os.cpu_count() or 1) if workers is None else workers)
        else:
            remarks = _install(params, dataset, scratch)
        write_text(scratch / "new" / MARKER, MADE_BY)
        require_unchanged()
    for remark in remarks:
        say(f"{download.source}: {remark}")
    _say_counts(dataset)


def _draw(wanted: "Synthetic", folder: Path, workers: int) -> None:
    from frcnn.sources.synthetic import draw_dataset

    counts = (wanted.train_images, wanted.val_images, wanted.test_images)
    with amount_bar("draw") as report:
        draw_dataset(folder, *counts, wanted.seed, workers, report)


def _install(params: "Params", dataset: Path, scratch: Path) -> list[str]:
    """Read the source, unpacking archives into `scratch`, and install it in its "new"; return remarks on it."""
    from frcnn.fetching.cache import verify
    from frcnn.sources.conversion import install_foreign
    from frcnn.sources.layout import find_roots, install, is_listed
    from frcnn.sources.recognition import find_foreign
    from frcnn.sources.source import is_voc, resolve

    download = params.download
    found = resolve(download.source, download.mirror, download.sha256)
    if isinstance(found, list):
        folders = [_unpack_fetched(archive, scratch) for archive in found]
    elif found.is_dir():
        if found.resolve().is_relative_to(dataset.resolve()):
            raise UserError(f"download.source: {found} would be overwritten; move it or choose another --dataset")
        folders = [found]
    else:
        if found.name in download.sha256:
            verify(found, download.sha256[found.name])
        folders = [_unpack(found, scratch)]
    voc = is_voc(download.source)
    if voc or (download.format in ("auto", "voc") and is_listed(folders[0])):
        datasets = [each for folder in folders for each in find_roots(folder)]
        with amount_bar("install") as report:
            return install(datasets, scratch / "new", download, params.splits, voc, report)
    foreign = find_foreign(folders[0], download.format)
    with amount_bar("convert") as report:
        remarks = install_foreign(foreign, scratch / "new", download, params.splits, report)
    return [f"{foreign.layout}, {len(foreign.pictures)} pictures", *remarks]


def _fetch(archive: "Published") -> Path:
    from frcnn.fetching.cache import cache_folder, fetch, verify

    cached = cache_folder() / archive.name
    made = f"{datetime.fromtimestamp(cached.stat().st_mtime):%Y-%m-%d %H:%M}" if cached.exists() else ""
    with amount_bar(f"fetch {archive.name}", "MB", 1e-6) as report:
        path = fetch(archive.name, archive.urls, archive.sha256, report)
    if archive.sha256 is None:
        copy = f"the copy of {made} is used, remove it to fetch it again; " if made else ""
        say(
            f"{path}: {copy}not verified; put its SHA-256 {verify(path, None)} into download.sha256 to have it verified"
        )
    return path


def _unpack_fetched(archive: "Published", scratch: Path) -> Path:
    path = _fetch(archive)
    try:
        return _unpack(path, scratch)
    except UserError as error:
        if archive.sha256 is None and str(error).startswith(f"{path}: "):
            path.unlink()  # a damaged body would answer for the address for ever
        raise


def _unpack(archive: Path, scratch: Path) -> Path:
    from frcnn.sources.archive import unpack

    with amount_bar(f"unpack {archive.name}") as report:
        unpack(archive, scratch / archive.name, report)
    return scratch / archive.name


def _say_counts(dataset: Path) -> None:
    from frcnn.data.voc.dataset import VocDataset

    voc = VocDataset(dataset)
    counts = ", ".join(f"{split} {len(voc.split_lines(split))}" for split in voc.split_names)
    say(f"{dataset}: {len(voc.class_names)} classes; pictures: {counts}")
