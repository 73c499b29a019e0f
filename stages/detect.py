"""Stage `detect`: run the trained detector over the test split."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frcnn.errors import UserError
from frcnn.params import Detect, load_params, to_dict

from .terminal.launch import Nproc, launch, launched, member
from .terminal.options import DATASET, DETECTIONS, FINAL_WEIGHTS, Dataset, Device, Overrides, ParamsFile, Weights

if TYPE_CHECKING:
    import numpy as np

    from frcnn.pytorch.inference import Detector

READ_AHEAD = 2  # batches


def run(
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    dataset: Dataset = DATASET,
    weights: Weights = FINAL_WEIGHTS,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Detections; .json: COCO results.")] = DETECTIONS,
    device: Device = "auto",
    nproc: Nproc = 1,
) -> None:
    """Read the test split of the dataset and the weights, write detections in original pixels to detections.h5."""
    params = load_params(params_file, overrides or ())
    if nproc > 1 and not launched():
        launch(nproc)
        return

    import numpy as np

    from frcnn import distributed
    from frcnn.data.resizing.sizes import by_shape
    from frcnn.data.voc.dataset import pictures_of, read_classes, read_split
    from frcnn.data.voc.digest import split_sha256
    from frcnn.data.voc.pictures import picture_size
    from frcnn.detections.hdf5 import pack_images, write_detections
    from frcnn.files import sha256_file
    from frcnn.frameworks import load

    from .terminal.console import say, track

    split = params.splits.test
    with member(device):
        with distributed.main_first():
            class_names = read_classes(dataset)
            ids = read_split(dataset, split)
            pictures = pictures_of(dataset, ids)
            detector = load(weights, distributed.own_device(device), params.detect.framework)
            if detector.config.class_names != class_names:
                raise UserError(f"{weights}: trained on other classes than {dataset}/classes.txt lists; train again")
        batch = params.detect.batch_size
        order = by_shape(np.array([picture_size(path) for path in pictures]))
        own = distributed.share([pictures[index] for index in order], batch)
        done = _detect_all(detector, own, params.detect)
        by_order = distributed.in_order(list(track(done, "detecting", len(own))), batch)
        if distributed.is_main():
            found = [by_order[place] for place in np.argsort(order)]
            made_from = {
                "weights": sha256_file(weights),
                "dataset": split_sha256(dataset, split),
                "detect": to_dict(params.detect),
            }
            write_detections(out, pack_images(ids, class_names, found, split, made_from))
            say(f"{out}: {len(ids)} images of {split}, {sum(len(image['scores']) for image in found)} detections")


def _detect_all(detector: "Detector", pictures: list[Path], settings: Detect) -> "Iterator[dict[str, np.ndarray]]":
    """Yield the detections of each picture in order; the next batches are read by threads meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    from frcnn.data.voc.pictures import read_picture
    from frcnn.pytorch.inference import detect_resized, prepare

    def load(paths: list[Path]) -> "tuple[list[np.ndarray], list[tuple[int, int]]]":
        originals = [read_picture(path) for path in paths]
        return [prepare(image, detector.config.data) for image in originals], [
            (i.shape[1], i.shape[0]) for i in originals
        ]

    batches = [pictures[i : i + settings.batch_size] for i in range(0, len(pictures), settings.batch_size)]
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        waiting = [pool.submit(load, batch) for batch in batches[:READ_AHEAD]]
        for batch in [*batches[READ_AHEAD:], *[None] * len(waiting)]:
            images, sizes = waiting.pop(0).result()
            if batch:
                waiting.append(pool.submit(load, batch))
            yield from detect_resized(detector, images, sizes, settings)
