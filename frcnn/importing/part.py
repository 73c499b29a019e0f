"""What of another project's file becomes which tensor of ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from frcnn.detector.config import Preprocessing

Tensors = dict[str, Tensor]


def unchanged(tensor: Tensor) -> Tensor:
    """Return the tensor."""
    return tensor


@dataclass(frozen=True)
class Part:
    """One tensor of another project: its name and shape there, and how it becomes ours."""

    name: str
    shape: Sequence[int]
    convert: Callable[[Tensor], Tensor] = unchanged


@dataclass(frozen=True)
class Recognized:
    """A file of another project.

    layout: in words. tensors: under the file's names. parts: what becomes of them, by our names, from the tensors of
    our network (of which names and shapes count). class_bias: the tensor with one value for each class and one for
    background; None where the file holds classification weights and no detector.
    """

    layout: str
    backbone: str
    preprocessing: Preprocessing
    tensors: Tensors = field(repr=False)
    parts: Callable[[Tensors], dict[str, Part]]
    class_bias: str | None = None
