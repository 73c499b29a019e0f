"""The network in TensorFlow and Keras 3: shapes, names, parameters and weights files are those of `frcnn.model`.

Images and maps are channels-last, (N, H, W, D), numbers float32. Whatever takes tensors may be traced by tf.function
with unknown sizes.
"""

import os

import torchvision  # noqa: F401 - before TensorFlow; triton, which it loads, crashes after it

from frcnn.errors import UserError

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's start-up tells of itself at length

try:
    import keras
    import tensorflow  # noqa: F401
except ImportError as error:
    raise UserError(f"TensorFlow or Keras cannot be imported ({error}); pip install '.[tensorflow]'") from error
if keras.backend.backend() != "tensorflow":
    raise UserError(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow")
