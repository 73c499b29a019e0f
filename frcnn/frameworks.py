"""Choose between PyTorch and TensorFlow: the one place that knows both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frcnn.detector.config import DetectorConfig
from frcnn.detector.interfaces import Detector, Learner, Weights
from frcnn.errors import UserError
from frcnn.params import Params
from frcnn.params.training import Train
from frcnn.params.types import Framework


def load_detector(weights: Path, device: str, framework: Framework) -> Detector:
    """Load a weights file for detection on `cpu`, `cuda`, `cuda:N`, `mps` or `auto`; an .onnx file by onnxruntime.

    Raises:
        UserError: the file does not fit, or there is no such device, or TensorFlow or onnxruntime is not installed.
    """
    if weights.suffix == ".onnx":
        from frcnn.onnx.session import load_detector as load_onnx_detector

        return load_onnx_detector(weights, device)
    if framework == "tensorflow":
        from frcnn.keras.inference import load_detector as load_keras_detector

        return load_keras_detector(weights, device)
    from frcnn.pytorch.inference import load_detector as load_torch_detector

    return load_torch_detector(weights, device)


def read_validation(weights: Path) -> dict[str, float]:
    """Return what validation found of the weights in a file, see `frcnn.detector.weights_file`."""
    if weights.suffix == ".onnx":
        from frcnn.onnx.session import load_detector as load_onnx_detector

        return load_onnx_detector(weights, "cpu").validation
    from frcnn.detector import weights_file

    return weights_file.read_validation(weights)


def best_score(weights: Path) -> float:
    """Return the score of the best F1 in validation.

    Raises:
        UserError: the weights were not validated, or nothing was detected.
    """
    found = read_validation(weights)
    if "score" not in found:
        why = "nothing was detected in its validation" if found else "it was trained without validation"
        raise UserError(
            f"{weights}: has no score for --score-threshold auto, since {why}; give a number, or train with "
            "train.validation.fraction above 0"
        )
    return found["score"]


@dataclass(frozen=True)
class Backend:
    """Where, and how precisely, a network is trained.

    Attributes:
        device: of torch; with TensorFlow the CPU, where torch initializes the weights.
        precision: dtype of torch in which convolutions and matrix products are computed.
        description: device and precision, for a message.
    """

    framework: Framework
    device: Any
    precision: Any
    description: str

    def learner(self, network: Any, train: Train) -> Learner:
        """Return a network of `initial_network` with its optimizer; with several processes all have to come here."""
        if self.framework == "tensorflow":
            from frcnn.keras.learner import KerasLearner
            from frcnn.pytorch.weights import arrays_of

            return KerasLearner(network.config, arrays_of(network), train)
        from frcnn.pytorch.device import layout
        from frcnn.pytorch.learner import TorchLearner

        network = network.to(self.device).to(memory_format=layout(self.device))
        return TorchLearner(network, train, self.device, self.precision)


def choose_backend(params: Params, device: str) -> Backend:
    """Return where to train, prepared for reproducible training if the parameters ask for it.

    Raises:
        UserError: there is no such device, or the framework cannot do what the parameters ask for.
    """
    return _tensorflow(params, device) if params.train.framework == "tensorflow" else _torch(params, device)


def initial_network(config: DetectorConfig, seed: int, pretrained: Weights | None = None, source: str = "") -> Any:
    """Return the network with random weights, and with pretrained ones in backbone and head.

    Raises:
        UserError: the weights do not fit.
    """
    import torch

    from frcnn.pytorch.faster_rcnn import FasterRCNN
    from frcnn.pytorch.weights import load_pretrained

    torch.manual_seed(seed)
    network = FasterRCNN(config)
    if pretrained is not None:
        load_pretrained(network, pretrained, source)
    return network


def network_from_detector(config: DetectorConfig, seed: int, path: Path) -> tuple[Any, str]:
    """Return the network with what a detector's weights file gives it, and a sentence that says what that is.

    It expects the pictures prepared as that detector does.

    Raises:
        UserError: the file is not readable, or of a network that cannot be made equal, see `frcnn.detector.transfer`.
    """
    from frcnn.detector.transfer import transfer
    from frcnn.pytorch.weights import arrays_of, load_arrays

    start = load_network(path)
    network = initial_network(config.model_copy(update={"preprocessing": start.config.preprocessing}), seed)
    weights, sentence = transfer(arrays_of(network), config, arrays_of(start), start.config, str(path))
    load_arrays(network, weights, str(path))
    return network, sentence


def load_network(path: Path) -> Any:
    """Return the network in a weights file, as `initial_network` does.

    Raises:
        UserError: the file does not fit.
    """
    from frcnn.pytorch.weights import load_model

    return load_model(path)


def _torch(params: Params, name: str) -> Backend:
    from frcnn import distributed
    from frcnn.pytorch.device import choose_device, choose_precision, make_deterministic

    if params.train.deterministic:
        make_deterministic()
    device = choose_device(distributed.own_device(name))
    pool = params.model.roi_pool
    if params.train.deterministic and device.type == "cuda" and (pool.op == "pool" or pool.sampling_ratio == 0):
        raise UserError(
            "train.deterministic: this RoI pooling has no deterministic gradient on CUDA; use model.roi_pool.op: align "
            "and a sampling_ratio of 1 or more"
        )
    if params.train.deterministic and device.type == "mps":
        raise UserError("train.deterministic: torch has no deterministic gradients on mps; use --device cpu")
    precision = choose_precision(params.train.precision, device)
    return Backend("torch", device, precision, f"{device}, {str(precision).removeprefix('torch.')}")


def _tensorflow(params: Params, name: str) -> Backend:
    import torch

    from frcnn import distributed
    from frcnn.keras.device import choose_device

    if distributed.world() > 1:
        raise UserError("train.framework: tensorflow trains in one process; start it without --nproc")
    if params.train.precision in ("bf16", "fp16"):
        raise UserError(f"train.precision: tensorflow has no {params.train.precision} here; use float32 or auto")
    if params.train.deterministic:
        raise UserError("train.deterministic: only torch can; for train.framework: tensorflow set it to false")
    device = choose_device(name)
    return Backend("tensorflow", torch.device("cpu"), torch.float32, f"tensorflow on {device}, float32")
