"""Faster R-CNN as a library: tensors and artifacts, no command line.

`frcnn.load` returns a trained detector. It is imported when it is asked for, since torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frcnn.loading import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return what the package offers."""
    if name == "load":
        return import_module("frcnn.loading").load
    raise AttributeError(f"module 'frcnn' has no attribute {name!r}")
