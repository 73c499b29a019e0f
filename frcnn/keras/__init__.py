"""The network in TensorFlow and Keras 3: shapes, names, parameters and weights files are those of `frcnn.pytorch`.

Images and maps are channels-last, (N, H, W, D), numbers float32. Whatever takes tensors may be traced by tf.function
with unknown sizes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torchvision  # noqa: F401 - before TensorFlow; triton, which it loads, crashes after it

from frcnn.errors import UserError

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # no news of itself, warnings and errors only


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what is written to stderr: TensorFlow, while it loads, heeds no log level."""
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


try:
    with _quiet():
        import keras
        import tensorflow  # noqa: F401
except ImportError as error:
    raise UserError(f"TensorFlow or Keras cannot be imported ({error}); pip install 'frcnn[tensorflow]'") from error
if keras.backend.backend() != "tensorflow":
    raise UserError(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow")
