"""Import torchvision before TensorFlow; triton, which it loads, crashes after it."""

import torchvision  # noqa: F401
