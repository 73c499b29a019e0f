"""Write a detector as one file for other programs, ONNX or a torch.export archive, and verify it by running it."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

import frcnn
from frcnn.detections.detections import Detections
from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Detector
from frcnn.detector.run import detect_pictures
from frcnn.detector.weights_file import read_header
from frcnn.errors import UserError
from frcnn.files import atomic_path, sha256_file
from frcnn.onnx.network import ExportedDetector, Operators
from frcnn.onnx.operators import first_best, onnx_nms_mask, onnx_roi_pool, torchvision_nms_mask
from frcnn.onnx.resize_graph import Resize
from frcnn.onnx.session import KEY, SCHEMA, VERSION, load_detector
from frcnn.params import to_dict
from frcnn.params.training import Postprocessing
from frcnn.params.types import Precision
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inference import TorchDetector

BOX_TOLERANCE, SCORE_TOLERANCE = 1e-2, 1e-4  # px of the original picture
NAMES = ["boxes", "scores", "labels", "counts"]
RESIZED = ["resized", "scale", "limit"]
OPSET = 20
PICTURES = torch.zeros(2, 96, 128, 3, dtype=torch.uint8)  # an example; sizes of 1 would be taken for constants


class Agreement(NamedTuple):
    """How far the file's detections are from ours at most, in pixels and in scores, and how many were compared."""

    box: float
    score: float
    compared: int


@dataclass(frozen=True)
class Exported:
    """What is written: a detector in evaluation mode, its settings, and what its file says of it.

    Attributes:
        resizes: whether the file resizes the pictures, as the detector expects them.
    """

    model: FasterRCNN
    settings: Postprocessing
    resizes: bool
    header: dict[str, Any]


def weights_header(weights: Path) -> dict[str, Any]:
    """Return what an exported file says of the weights file that it is made of: provenance and validation."""
    header = read_header(weights)
    provenance = header.get("provenance", {}) | {"weights": sha256_file(weights)}
    return {"provenance": provenance} | ({"validation": header["validation"]} if "validation" in header else {})


def export(exported: Exported, to: Literal["onnx", "pt2"], out: Path, picture: np.ndarray) -> Agreement:
    """Write the file, run it on a picture (H, W, 3) uint8 RGB and compare with the network itself.

    Raises:
        UserError: nothing is found in the picture, so that nothing can be compared, or see `Resize`.
        RuntimeError: the detections differ by more than `BOX_TOLERANCE` or `SCORE_TOLERANCE`; nothing is written.
    """
    settings = Postprocessing(**{name: getattr(exported.settings, name) for name in Postprocessing.model_fields})
    config = exported.model.config.model_copy(update={"postprocessing": settings})
    header = {"schema": SCHEMA, "version": VERSION, "library": frcnn.__version__, "resizes": exported.resizes}
    text = json.dumps(header | {"config": to_dict(config)} | exported.header, sort_keys=True, ensure_ascii=False)
    own = TorchDetector(exported.model, torch.device("cpu"))
    [wanted] = detect_pictures(own, [picture], exported.settings)
    if not len(wanted.above(_lowest(wanted, settings))):
        raise UserError(
            f"{out}: not written, since it cannot be verified: nothing with a score above "
            f"{exported.settings.score_threshold:g} is in the picture; name another with --picture"
        )
    with atomic_path(out) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about itself
        if to == "onnx":
            _write_onnx(exported, temporary, {KEY: text, "classes": json.dumps(config.class_names)})
            detector: Detector = load_detector(temporary, "cpu")
        else:
            _write_archive(exported, temporary, text)
            with temporary.open("rb") as file:
                detector = _Archive(config, torch.export.load(file).module())
        agreement = compare(detect_pictures(detector, [picture], exported.settings)[0], wanted, exported.settings)
        if agreement.box > BOX_TOLERANCE or agreement.score > SCORE_TOLERANCE:
            raise RuntimeError(
                f"{out}: not written: detections of the exported file are up to {agreement.box:.2g} px and a score of "
                f"{agreement.score:.2g} from those of the network"
            )
    return agreement


def compare(found: Detections, wanted: Detections, settings: Postprocessing) -> Agreement:
    """Return how far each detection is from the nearest of its class on the other side.

    Those so near to the lowest score that one side may lack them are left out.
    """
    lowest = _lowest(wanted, settings)
    box = score = 0.0
    for own, others in ((found.above(lowest), wanted), (wanted.above(lowest), found)):
        for own_box, own_score, label in zip(own.boxes, own.scores, own.labels, strict=True):
            same = others.labels == label
            if not same.any():
                return Agreement(np.inf, np.inf, len(wanted))
            boxes, scores = np.abs(others.boxes[same] - own_box).max(1), np.abs(others.scores[same] - own_score)
            nearest = np.maximum(boxes / BOX_TOLERANCE, scores / SCORE_TOLERANCE).argmin()
            box, score = max(box, float(boxes[nearest])), max(score, float(scores[nearest]))
    return Agreement(box, score, len(wanted.above(lowest)))


def _lowest(wanted: Detections, settings: Postprocessing) -> float:
    """Return the score from which on both sides must have a detection, however their sums are rounded."""
    full = len(wanted) == settings.max_detections
    return (float(wanted.scores[-1]) if full else settings.score_threshold) + SCORE_TOLERANCE


@dataclass(frozen=True)
class _Archive:
    """A torch.export archive as a detector."""

    config: DetectorConfig
    program: Any
    resizes = False

    def detect(
        self, images: Sequence[np.ndarray], settings: Postprocessing, precision: Precision = "float32"
    ) -> list[Detections]:
        """Return the detections in resized images."""
        with torch.no_grad():
            outputs = [self.program(torch.from_numpy(image)[None]) for image in images]
        return [
            Detections(*(each[0, : int(counts[0])].numpy() for each in (boxes, scores, labels)))
            for boxes, scores, labels, counts in outputs
        ]


def _write_onnx(exported: Exported, path: Path, metadata: dict[str, str]) -> None:
    """Write the network, after the graph that resizes if that is asked for."""
    operators = Operators(torch.ops.frcnn.nms_mask, torch.topk)
    network = ExportedDetector(exported.model, exported.settings, operators)
    if not exported.resizes:
        model = _to_onnx(_program(network, PICTURES), ["images"], NAMES)
    else:
        sides = torch.ones(4), torch.full((4,), 1000.0)
        core = _to_onnx(_program(network, PICTURES, *sides), RESIZED, NAMES)
        resize = _to_onnx(_program(Resize(exported.model.config.data), PICTURES), ["images"], RESIZED)
        resize = onnx.compose.add_prefix(resize, "resize/", rename_inputs=False)
        model = onnx.compose.merge_models(resize, core, [(f"resize/{name}", name) for name in RESIZED])
    _name_axes(model.graph)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _name_axes(graph: onnx.GraphProto) -> None:
    """Call the axes of inputs and outputs what they are; torch numbers them."""
    del graph.value_info[:]
    axes = {"images": ["pictures", "height", "width"]}
    for value in (*graph.input, *graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, axes.get(value.name, ["pictures"]), strict=False):
            axis.dim_param = name


def _to_onnx(program: ExportedProgram, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    table: dict[Any, Any] = {
        torch.ops.frcnn.nms_mask.default: onnx_nms_mask,
        torch.ops.torchvision.roi_pool.default: onnx_roi_pool,
    }
    written: Any = torch.onnx.export(
        program, input_names=inputs, output_names=outputs, custom_translation_table=table, opset_version=OPSET,
        dynamo=True, verbose=False,
    )  # fmt: skip
    return written.model_proto


def _write_archive(exported: Exported, path: Path, header: str) -> None:
    network = ExportedDetector(exported.model, exported.settings, Operators(torchvision_nms_mask, first_best))
    with path.open("wb") as file:
        torch.export.save(_program(network, PICTURES), file, extra_files={f"{KEY}.json": header})


def _program(module: nn.Module, *inputs: torch.Tensor) -> ExportedProgram:
    """Return a module as torch.export traces it, for any number and size of pictures, its first input."""
    shapes = (dict.fromkeys(range(3), Dim.DYNAMIC), *({} for _ in inputs[1:]))
    with torch.no_grad():
        return torch.export.export(module.eval(), inputs, dynamic_shapes=shapes, strict=False)
