"""The detector that `frcnn predict` gets in tests, calls of the command, and what they wrote."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from frcnn.detections.detections import Detections
from frcnn.params import Data, Detect
from frcnn.params.types import Precision
from stages import predict


class FakeDetector:
    """Finds a wrench in the middle of each picture; notes what it is asked."""

    config = SimpleNamespace(class_names=("bolt", "wrench"), data=Data(), postprocessing=None)
    resizes = False

    def __init__(self, asked: list[tuple]) -> None:
        self.asked = asked

    def detect(self, images: list[np.ndarray], settings: Detect, precision: Precision) -> list[Detections]:
        self.asked.append(([image.shape for image in images], settings, precision))
        height, width = images[0].shape[:2]
        box = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]], np.float32)
        return [Detections(box, np.array([0.875], np.float32), np.array([2]))]


def run(tmp_path: Path, *pictures: object, **options: object) -> list[dict]:
    predict.run([str(each) for each in pictures], Path("w.safetensors"), tmp_path / "out", device="cpu", **options)
    return entries(tmp_path)


def entries(tmp_path: Path) -> list[dict]:
    return json.loads((tmp_path / "out/detections.json").read_text(encoding="utf-8"))


def drawn(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".png")
