"""Faster R-CNN as a library: tensors and artifacts, no command line.

`frcnn.load` returns a trained detector; docs/python.md shows the rest. What the package offers is imported when it is
asked for, since torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frcnn.errors import UserError
    from frcnn.loading import load
    from frcnn.predictor import Predictor
    from frcnn.result import Result
    from frcnn.workflow import evaluate, train

__all__ = ["Predictor", "Result", "UserError", "__version__", "evaluate", "load", "train"]
__version__ = "0.1.0"

HOMES = {
    "Predictor": "predictor",
    "Result": "result",
    "UserError": "errors",
    "evaluate": "workflow",
    "load": "loading",
    "train": "workflow",
}


def __dir__() -> list[str]:
    """Return the names that the package offers."""
    return __all__


def __getattr__(name: str) -> Any:
    """Return what the package offers."""
    if name in HOMES:
        from frcnn.errors import torch_needed

        with torch_needed():
            return getattr(import_module(f"frcnn.{HOMES[name]}"), name)
    raise AttributeError(f"module 'frcnn' has no attribute {name!r}")
