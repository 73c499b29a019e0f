"""HDF5 files of arrays and attributes that end with a checksum; the same content gives the same bytes."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from frcnn.checksums import append_checksum, appended_fits
from frcnn.errors import UserError
from frcnn.files import atomic_path
from frcnn.messages import first_line


def write_arrays(path: Path, attributes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write attributes, as they are or as JSON where they are dictionaries or lists, and arrays by name.

    Raises:
        UserError: the file cannot be written.
    """
    content = io.BytesIO()  # HDF5 itself reports a full disk only when it closes the file, and not as an OSError
    with h5py.File(content, "w", libver=("earliest", "v110")) as file:  # the first format keeps no times
        for name, value in attributes.items():
            file.attrs[name] = (
                json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict | list) else value
            )
        for name, array in arrays.items():
            file.create_dataset(name, data=array, track_times=False)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getvalue())
        append_checksum(temporary)


def read_arrays(path: Path, remedy: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the attributes and the arrays by name; HDF5 sees the file only if its checksum fits.

    Raises:
        UserError: no such file, damaged, of another version, or with data that lie in other files; with the remedy.
    """
    try:
        if not appended_fits(path):
            raise UserError(f"{path}: damaged, cut off, or not a file of this version, by its checksum; {remedy} again")
        return read_hdf5(path, path.stat().st_size)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path}: not a readable file ({error}); {remedy}") from error


def read_hdf5(path: Path, most: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the attributes and, by their names with the groups, the arrays of an HDF5 file.

    Links are not followed, neither to other files nor within the file.

    Args:
        most: bytes that all arrays together may have.

    Raises:
        OSError: no such file.
        ValueError: damaged, larger, or with data that lie in other files.
    """
    arrays: dict[str, np.ndarray] = {}
    left = most

    def visit(name: str, item: Any) -> None:
        nonlocal left
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"the data of {name} are not in the file")
            left -= item.nbytes
            if left < 0:
                raise ValueError(f"more than {most >> 20} MiB with {name}")
            arrays[name] = item[()]

    try:
        with h5py.File(io.BytesIO(path.read_bytes()), "r") as file:
            attributes = dict(file.attrs)
            file.visititems(visit)
    except (OSError, KeyError, TypeError, RuntimeError) as error:  # what h5py makes of damage
        raise ValueError(first_line(error)) from error
    return attributes, arrays


def from_json(attributes: Mapping[str, Any], name: str, kind: type) -> Any:
    """Return what an attribute holds as JSON.

    Raises:
        ValueError: it is not there, is not JSON, or holds something else than a value of this type.
    """
    value = json.loads(str(attributes.get(name)))
    if not isinstance(value, kind):
        raise ValueError(f"{name} holds no {kind.__name__}")
    return value


def text_array(texts: Sequence[str]) -> np.ndarray:
    """Return UTF-8 bytes of one length, which, unlike HDF5's variable length, always lie in the file alike."""
    encoded = [text.encode("utf-8") for text in texts]
    length = max([1, *(len(text) for text in encoded)])
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", length))


def texts_of(array: np.ndarray) -> list[str]:
    """Return the texts of such an array."""
    return [text.decode("utf-8") for text in array.tolist()]


def divides(offsets: np.ndarray, images: int, rows: int) -> bool:
    """Tell whether offsets (N + 1,) give each of N images its part of all rows, in order."""
    return (
        offsets.shape == (images + 1,)
        and offsets.dtype.kind == "i"
        and offsets[0] == 0
        and offsets[-1] == rows
        and not np.any(np.diff(offsets) < 0)
    )
