"""Choose where TensorFlow computes."""

import tensorflow as tf

from frcnn.allocation import keep_freed_memory
from frcnn.errors import UserError


def choose_device(name: str) -> str:
    """Let TensorFlow use `cpu`, `cuda`, `cuda:N` or, for `auto`, the first GPU that it sees; return it in words.

    Raises:
        UserError: not a device, or one that TensorFlow does not see.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if name == "cpu" or (name == "auto" and not gpus):
        chosen = []
    else:
        kind, _, number = "cuda:0".partition(":") if name in ("auto", "cuda") else name.partition(":")
        if kind != "cuda" or not number.isdecimal():
            raise UserError(f"--device {name}: not a device; use cpu, cuda, cuda:N or auto")
        chosen = gpus[int(number) : int(number) + 1]
        if not chosen:
            raise UserError(f"--device {name}: TensorFlow sees {len(gpus)} CUDA devices; use --device cpu")
    if gpus:
        tf.config.set_visible_devices(chosen, "GPU")
    if not chosen:
        keep_freed_memory()
    return name if chosen else "cpu"
