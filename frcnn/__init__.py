"""Faster R-CNN as a library: tensors and artifacts, no command line."""

__version__ = "0.1.0"
