"""Detect with a file that `frcnn export --to onnx` wrote, by onnxruntime; torch is not needed."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.detections.detections import Detections
from frcnn.detector.config import DetectorConfig
from frcnn.errors import UserError
from frcnn.params import from_dict
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision

SCHEMA, VERSION, KEY = "frcnn-onnx", 1, "frcnn"
FIXED = ("pre_nms_topk", "post_nms_topk", "nms_threshold", "count_empty")  # what is part of the file


@dataclass(frozen=True)
class OnnxDetector:
    """A file in a session of onnxruntime.

    Attributes:
        config: its `postprocessing` is that of the file, of which only stricter values can be used.
        resizes: whether `detect` takes pictures as they are and returns boxes in their pixels.
        validation: what validation found of the weights, see `frcnn.detector.weights_file`.
    """

    path: Path
    session: Any
    config: DetectorConfig
    resizes: bool
    validation: dict[str, float]

    def detect(
        self, images: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
    ) -> list[Detections]:
        """Return the detections in images, see `frcnn.detector.interfaces.Detector`.

        Raises:
            UserError: the file was exported with other settings, or the precision is not float32.
        """
        if precision in ("bf16", "fp16"):
            raise UserError(f"{self.path}: detect.precision: {precision} is not in the file; use float32 or auto")
        self._require_fit(settings)
        found = [self._run(image).above(np.nextafter(np.float32(settings.score_threshold), 2)) for image in images]
        rows = slice(settings.max_detections)
        return [Detections(each.boxes[rows], each.scores[rows], each.labels[rows]) for each in found]

    def _run(self, image: np.ndarray) -> Detections:
        boxes, scores, labels, counts = self.session.run(None, {"images": image[None]})
        return Detections(*(each[0, : counts[0]] for each in (boxes, scores, labels)))

    def _require_fit(self, settings: Postprocessing) -> None:
        own = self.config.postprocessing or Postprocessing()
        other = [name for name in FIXED if getattr(settings, name) != getattr(own, name)]
        other += ["score_threshold"] * (settings.score_threshold < own.score_threshold)
        most, own_most = (each.max_detections or np.inf for each in (settings, own))
        if other := other + ["max_detections"] * (most > own_most):
            name = other[0]
            end = {"score_threshold": "at least ", "max_detections": "at most "}.get(name, "")
            raise UserError(
                f"{self.path}: detect.{name}: exported with {getattr(own, name)}, not {getattr(settings, name)}; "
                f"set it to {end}that, or export again with --set detect.{name}={getattr(settings, name)}"
            )


def load_detector(path: Path, device: str) -> OnnxDetector:
    """Load an exported file for detection on `cpu`, `cuda`, `cuda:N` or `auto`.

    Raises:
        UserError: no such file, not one of `frcnn export`, no such device, or onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path}: needs onnxruntime; pip install 'frcnn[onnx]'") from error
    if not path.is_file():
        raise UserError(f"{path}: no such file; write it with frcnn export --to onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "0"))  # 0: one per core
    try:
        session = onnxruntime.InferenceSession(path, options, providers=_providers(onnxruntime, device))
        header = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
    except UserError:
        raise
    except Exception as error:  # onnxruntime has a class for each of its codes, none of them public
        raise UserError(f"{path}: not a readable ONNX file ({str(error).splitlines()[0]}); export it again") from error
    if (header.get("schema"), header.get("version")) != (SCHEMA, VERSION):
        raise UserError(f"{path}: not an ONNX file that frcnn export wrote, version {VERSION}; export it again")
    config = from_dict(DetectorConfig, header["config"], str(path))
    return OnnxDetector(path, session, config, header["resizes"], header.get("validation", {}))


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise UserError(f"--device {device}: not a device; use cpu, cuda, cuda:N or auto")
    if kind == "cuda" and not cuda:
        raise UserError(f"--device {device}: this onnxruntime has no CUDA; pip install onnxruntime-gpu, or use cpu")
    if kind == "cpu" or not cuda:
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
