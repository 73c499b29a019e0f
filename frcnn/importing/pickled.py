"""Read a pickle of arrays and plain containers; nothing else in it is built or called.

The file names the functions that build its objects. Only those of NumPy's arrays are known here, under the names of all
its versions; another name stops the reading before anything is called.
"""

import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.errors import UserError
from frcnn.messages import first_line

FIRST = b"\x80"  # of a pickle of protocol 2 or later
ARRAY = object()  # stands for the class of arrays, which a file could call to fill the memory
TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # what torch wrote first until version 1.6


def is_pickle(path: Path) -> bool:
    """Tell whether a file is a pickle, and none of torch."""
    with path.open("rb") as file:
        start = file.read(len(TORCH))
    return start.startswith(FIRST) and start != TORCH


def read_pickle(path: Path) -> Any:
    """Return the arrays and plain containers in a pickle, of Python 2, too.

    Raises:
        UserError: damaged, or with other objects.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file, encoding="latin1").load()
    except _Foreign as error:
        raise UserError(f"{path}: holds an object that could run code ({error}) and is not read") from error
    except Exception as error:  # damage surfaces as nearly any
        raise UserError(f"{path}: not a readable pickle ({first_line(error)})") from error


class _Foreign(Exception):
    """The name of what is not built."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what builds an object."""
        module = module.replace("numpy._core.", "numpy.core.")
        if (module, name) not in KNOWN:
            raise _Foreign(f"{module}.{name}")
        return KNOWN[module, name]


def _new_array(kind: Any, shape: tuple[int, ...], letter: Any) -> np.ndarray:
    """Return the empty array that the file then fills."""
    if kind is not ARRAY or shape != (0,):
        raise ValueError("an array that does not begin empty")
    return np.ndarray((0,), np.int8)


def _latin1(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 3 wrote as text for Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes as text in {encoding}")
    return text.encode("latin1")


KNOWN: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): ARRAY,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
}
