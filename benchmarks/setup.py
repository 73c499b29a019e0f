"""What the parts of a benchmark share."""

from dataclasses import dataclass
from pathlib import Path

import torch

from frcnn.data.voc.annotation import Annotation
from frcnn.params import Params


@dataclass(frozen=True)
class Setup:
    """What is measured, and where.

    Attributes:
        params: with the sizes of input and batch (benchmarks.inputs.fit_params).
        annotations: of generated pictures.
        scratch: folder for temporary files.
        workers: processes that load pictures in training.
        against_torchvision: time torchvision's model, too.
        against_keras: time our network in TensorFlow, too.
        evaluated_images: number of images in the evaluation.
        help_command: command whose start-up is timed.
    """

    params: Params
    annotations: list[Annotation]
    scratch: Path
    device: torch.device
    precision: torch.dtype
    repeats: int
    workers: int
    against_torchvision: bool
    against_keras: bool
    evaluated_images: int
    help_command: list[str]

    @property
    def batch_size(self) -> int:
        """Images in a step."""
        return self.params.train.batch_size
