"""Limit the gradients before a step of the optimizer; `frcnn.keras.clipping` is the same for TensorFlow."""

from collections.abc import Iterable

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_


def clip_gradients(parameters: Iterable[Tensor], how: str | None, at: float) -> None:
    """Scale down or cut off the gradients of the parameters in place.

    Args:
        how: "variable" (the Euclidean norm of each one's gradient), "global_norm" (of all together), "value" (each
            number) or None (nothing is changed).
        at: the largest norm or absolute value.
    """
    if how == "variable":
        for parameter in parameters:
            clip_grad_norm_(parameter, at)
    elif how == "global_norm":
        clip_grad_norm_(parameters, at)
    elif how == "value":
        clip_grad_value_(parameters, at)
