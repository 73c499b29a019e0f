"""Which tensor of another project's file becomes which of ours, and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from frcnn.detector.config import Preprocessing

Tensors = dict[str, Tensor]
# Width, RoI size and anchors of the paper.
PAPERS = (
    "model.width=64",
    "model.roi_pool.size=7",
    "anchors.anchor_sizes=[128, 256, 512]",
    "anchors.anchor_ratios=[0.5, 1, 2]",
    "anchors.anchor_offset=0.5",
)


def unchanged(tensor: Tensor) -> Tensor:
    """Return the tensor."""
    return tensor


@dataclass(frozen=True)
class TensorSource:
    """One tensor of another project: its name and shape there, and how it becomes ours."""

    name: str
    shape: Sequence[int]
    convert: Callable[[Tensor], Tensor] = unchanged


@dataclass(frozen=True)
class Recognized:
    """A file of another project.

    Attributes:
        layout: its name, for messages.
        backbone: key of `BACKBONES`.
        preprocessing: what pictures the weights expect.
        tensors: under the file's names.
        sources: maps the tensors of our network (of which names and shapes count) to their sources, by our names.
        class_bias: name of the tensor with one value per class and one for background; None where the file holds
            classification weights and no detector.
        parameters: what a detector's file fixes beside its backbone, as `section.key=value`.
        preferred: how its project resizes and detects, which may be set otherwise, as `section.key=value`.
    """

    layout: str
    backbone: str
    preprocessing: Preprocessing
    tensors: Tensors = field(repr=False)
    sources: Callable[[Tensors], dict[str, TensorSource]]
    class_bias: str | None = None
    parameters: Sequence[str] = PAPERS
    preferred: Sequence[str] = ()
