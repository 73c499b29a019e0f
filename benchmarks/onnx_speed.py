"""Our network in torch and its ONNX file in onnxruntime, side by side: python -m benchmarks.onnx_speed --help.

Each resizes and detects in the same drawn picture; they take turns. Weights are random, and the lowest score is set so
that a few boxes are left: the work of a trained detector. Both use the threads that OMP_NUM_THREADS says.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from benchmarks.measure import interleave, milliseconds, ratio
from frcnn.detector.config import detector_config
from frcnn.detector.run import detect_pictures
from frcnn.frameworks import initial_network, load_detector
from frcnn.onnx.exporting import Exported, export
from frcnn.params import load_params
from frcnn.pytorch.inference import TorchDetector
from frcnn.sources.shapes import draw_picture
from stages.terminal.options import Overrides


def run(
    backbones: Annotated[str, typer.Option("--backbones", help="With commas.")] = "resnet18,mobilenet-v3-fpn",
    overrides: Overrides = None,
    repeats: Annotated[int, typer.Option("--repeats")] = 7,
) -> None:
    """Print milliseconds per picture of each, the ratio, and how far apart their detections are."""
    for backbone in backbones.split(","):
        changes = [f"model.backbone={backbone}", "detect.score_threshold=0", *(overrides or ())]
        params = load_params(Path("default"), changes)
        model = initial_network(detector_config(["a", "b", "c"], params), seed=1).eval()
        picture = draw_picture(np.random.default_rng(1))[0]
        own = TorchDetector(model.to(memory_format=torch.channels_last), torch.device("cpu"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            agreement = export(Exported(model, params.detect, True, {}), "onnx", path, picture)
            sides = {"torch": own, "onnxruntime": load_detector(path, "cpu", "torch")}
            calls = {name: partial(detect_pictures, side, [picture], params.detect) for name, side in sides.items()}
            seconds = interleave(calls, repeats)
        for row in (*(milliseconds(*each) for each in seconds.items()), ratio("ratio", *seconds.values())):
            print(f"{backbone:20} {row.what:12} {row.median:9.2f} {row.low:9.2f} .. {row.high:9.2f} {row.unit}")
        print(
            f"{backbone:20} {agreement.compared} detections, {agreement.box:.1e} px, {agreement.score:.1e}", flush=True
        )


if __name__ == "__main__":
    typer.run(run)
