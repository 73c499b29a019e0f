"""Which tensor of another project's file becomes which of ours, and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from frcnn.detector.config import Preprocessing

Tensors = dict[str, Tensor]


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
    """

    layout: str
    backbone: str
    preprocessing: Preprocessing
    tensors: Tensors = field(repr=False)
    sources: Callable[[Tensors], dict[str, TensorSource]]
    class_bias: str | None = None
