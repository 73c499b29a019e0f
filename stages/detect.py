"""Stage `detect`: run the trained detector over the test split."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal.launch import Nproc, launch, launched, member
from .terminal.options import DATASET, DETECTIONS, FINAL_WEIGHTS, Dataset, Device, Overrides, ParamsFile, Split, Weights

if TYPE_CHECKING:
    import numpy as np

    from frcnn.detections.detections import Detections
    from frcnn.detector.interfaces import Detector
    from frcnn.params import Detect

READ_AHEAD = 2  # batches


def run(
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
    dataset: Dataset = DATASET,
    weights: Weights = FINAL_WEIGHTS,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Detections; .json: COCO results.")] = DETECTIONS,
    split: Split = None,
    device: Device = "auto",
    nproc: Nproc = 1,
) -> None:
    """Read the test split of the dataset and the weights, write detections in original pixels to detections.h5."""
    from frcnn.params import load_params, to_dict

    params = load_params(params_file, overrides or ())
    if nproc > 1 and not launched():
        launch(nproc)
        return

    import numpy as np

    from frcnn import distributed
    from frcnn.data.resizing.sizes import order_by_shape
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.data.voc.pictures import picture_size
    from frcnn.detections.detections import join_detections
    from frcnn.detections.hdf5 import write_detections
    from frcnn.errors import UserError
    from frcnn.files import sha256_file
    from frcnn.frameworks import load_detector
    from frcnn.unchanged import watch

    from .terminal.console import say, track

    require_unchanged = watch("detect", params_file, overrides or (), params, [dataset, weights])
    split = split or params.splits.test
    with member(device):
        with distributed.main_first():
            data = VocDataset(dataset)
            ids = data.split(split)
            pictures = data.pictures_of(ids)
            detector = load_detector(weights, distributed.own_device(device), params.detect.framework)
            if list(detector.config.class_names) != data.class_names:
                raise UserError(f"{weights}: trained on other classes than {dataset}/classes.txt lists; train again")
        batch = params.detect.batch_size
        order = order_by_shape(np.array([picture_size(path) for path in pictures]))
        own = distributed.share([pictures[index] for index in order], batch)
        done = _detect_all(detector, own, params.detect)
        by_order = distributed.in_order(list(track(done, "detecting", len(own))), batch)
        if distributed.is_main():
            provenance = {
                "weights": sha256_file(weights),
                "dataset": data.split_sha256(split),
                "detect": to_dict(params.detect),
            }
            images = [by_order[rank] for rank in np.argsort(order)]
            joined = join_detections(ids, data.class_names, images, split, provenance)
            require_unchanged()
            write_detections(out, joined)
            say(f"{out}: {len(ids)} images of {split}, {len(joined.scores)} detections")


def _detect_all(detector: "Detector", pictures: list[Path], settings: "Detect") -> "Iterator[Detections]":
    """Yield the detections of each picture in order; the next batches are read by threads meanwhile."""
    from concurrent.futures import ThreadPoolExecutor

    from frcnn.arrays import size_of
    from frcnn.data.voc.pictures import read_picture
    from frcnn.detector.run import detect_resized, prepare

    def load(paths: list[Path]) -> "tuple[list[np.ndarray], list[tuple[int, int]]]":
        originals = [read_picture(path) for path in paths]
        return [prepare(image, detector) for image in originals], list(map(size_of, originals))

    batches = [pictures[i : i + settings.batch_size] for i in range(0, len(pictures), settings.batch_size)]
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        waiting = [pool.submit(load, batch) for batch in batches[:READ_AHEAD]]
        for batch in [*batches[READ_AHEAD:], *[None] * len(waiting)]:
            images, sizes = waiting.pop(0).result()
            if batch:
                waiting.append(pool.submit(load, batch))
            yield from detect_resized(detector, images, sizes, settings, settings.precision)
