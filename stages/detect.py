"""Stage `detect`: run the trained detector over the test split."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from .terminal.launch import Nproc, launch, launched, member
from .terminal.options import DATASET, DETECTIONS, FINAL_WEIGHTS, Dataset, Device, Overrides, ParamsFile, Split, Weights


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

    from frcnn import distributed
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.detections.hdf5 import write_detections
    from frcnn.files import sha256_file
    from frcnn.frameworks import load_detector
    from frcnn.split_detection import detect_split, require_classes
    from frcnn.unchanged import watch

    from .terminal.console import say, track

    require_unchanged = watch("detect", params_file, overrides or (), params, [dataset, weights])
    split = split or params.splits.test
    with member(device):
        with distributed.main_first():
            data = VocDataset(dataset)
            data.pictures_of(data.split(split))  # which refuses what is not there before anything takes time
            detector = load_detector(weights, distributed.own_device(device), params.detect.framework)
            require_classes(detector, data, weights)
        found = detect_split(
            detector, data, split, params.detect, lambda items, total: track(items, "detecting", total)
        )
        if distributed.is_main():
            provenance = {
                "weights": sha256_file(weights),
                "dataset": data.split_sha256(split),
                "detect": to_dict(params.detect),
            }
            require_unchanged()
            write_detections(out, replace(found, provenance=provenance))
            say(f"{out}: {len(found.image_ids)} images of {split}, {len(found.scores)} detections")
