"""Limit the gradients before a step of the optimizer, to what `frcnn.pytorch.clipping` (torch) makes of them.

`tf.clip_by_norm` and `tf.clip_by_global_norm` add no EPSILON to the norm: where it is near the limit their results
differ from torch's by up to EPSILON / `at`, of 0.01 by 6e-5. `tf.clip_by_value` gives torch's bits.
"""

from collections.abc import Sequence

import tensorflow as tf

EPSILON = 1e-6  # added to a norm, as torch.nn.utils.clip_grad_norm_ does


def clip_gradients(gradients: Sequence[tf.Tensor], how: str | None, at: float) -> list[tf.Tensor]:
    """Return the gradients scaled down or cut off.

    Args:
        how: "variable" (the Euclidean norm of each one), "global_norm" (of all together), "value" (each number) or
            None (nothing is changed).
        at: the largest norm or absolute value.
    """
    if how == "variable":
        return [gradient * _factor(_square_norm(gradient), at) for gradient in gradients]
    if how == "global_norm":
        factor = _factor(tf.add_n([_square_norm(gradient) for gradient in gradients]), at)
        return [gradient * factor for gradient in gradients]
    if how == "value":
        return [tf.clip_by_value(gradient, -at, at) for gradient in gradients]
    return list(gradients)


def _square_norm(gradient: tf.Tensor) -> tf.Tensor:
    return 2 * tf.nn.l2_loss(gradient)  # needs no copy of the gradient


def _factor(square_norm: tf.Tensor, at: float) -> tf.Tensor:
    return tf.minimum(at / (tf.sqrt(square_norm) + EPSILON), 1)
