"""Find pictures that are equal or nearly so: copies, exports of another size or quality, neighboring frames of a video.

A difference hash on a grid of 12 x 12 cells, each its mean color: a cell is compared with the mean of its four
neighbors, in red, green and blue; one bit says that it is brighter by more than a level, one that it is darker. All
four leave even gradients out, such as skies, which the usual hash (the neighbor on the right) takes for equal pictures.
The distance of two pictures is the share of bits that only one of them has among those that any of them has, so that
plain grounds do not count. Pictures of at most `DISTANCE` look alike if their cells have a correlation of at least
`CORRELATION`, so that a shape on a plain ground has to be in one place, and their mean colors differ by at most
`LEVELS`. A picture with fewer than `LEAST_BITS` is too plain to tell; equal pixels are found whatever they show.

docs/artifacts.md has the measurements that the numbers were chosen on.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from PIL import Image

GRID = 14  # cells a side; those on the border are neighbors only
DISTANCE = 0.4
CORRELATION = 0.97
LEVELS = 16  # of 255
LEAST_BITS = 80  # of 864
ROWS, COLUMNS = 512, 4096  # pictures that are compared at once


class Fingerprint(NamedTuple):
    """What is kept of a picture: the SHA-256 of its size and pixels, and its cells (GRID, GRID, 3) uint8."""

    digest: bytes
    cells: np.ndarray


def fingerprint(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of an RGB picture."""
    digest = sha256(image.tobytes())
    digest.update(repr(image.size).encode())
    return Fingerprint(digest.digest(), np.asarray(image.resize((GRID, GRID), Image.Resampling.BOX)))


def near_duplicates(prints: Sequence[Fingerprint]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of pictures that look alike, each pair once, as two arrays of indices.

    Only pictures with about as many bits can be alike, so they are sorted by that. 6,000 pictures take half a second,
    and memory is 1.5 kB a picture.
    """
    if not prints:
        return
    cells = np.stack([each.cells for each in prints])
    bits, colors = _bits(cells), cells.mean((1, 2), dtype=np.float32)
    counts = bits.sum(1)
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] >= LEAST_BITS]
    cells, bits, colors, counts = cells[order], bits[order], colors[order], counts[order].astype(np.float32)
    for start in range(0, len(order), ROWS):
        rows = slice(start, start + ROWS)
        own = bits[rows].astype(np.float32)
        end = np.searchsorted(counts, counts[rows][-1] / (1 - DISTANCE), "right")
        for first in range(start, end, COLUMNS):
            columns = slice(first, min(first + COLUMNS, end))
            shared = own @ bits[columns].astype(np.float32).T
            union = counts[rows, None] + counts[columns] - shared
            close = np.triu(shared >= (1 - DISTANCE) * union, start - first + 1)  # each pair once
            if not close.any():
                continue
            i, j = np.nonzero(close & (_details(cells[rows]) @ _details(cells[columns]).T >= CORRELATION))
            i, j = i + start, j + first
            alike = np.abs(colors[i] - colors[j]).max(1) <= LEVELS
            yield order[i[alike]], order[j[alike]]


def look_alike_groups(prints: Sequence[Fingerprint]) -> np.ndarray:
    """Return (n,) for each picture the lowest index of its group: what is equal or looks alike, also by a detour."""
    first: dict[bytes, int] = {}
    groups = np.array([first.setdefault(each.digest, index) for index, each in enumerate(prints)], np.int64)
    for pairs in near_duplicates(prints):
        ends = np.sort(groups[np.stack(pairs)], axis=0)
        while (ends[0] != ends[1]).any():
            np.minimum.at(groups, ends[1], ends[0])
            while (groups[groups] != groups).any():
                groups = groups[groups]
            ends = np.sort(groups[ends], axis=0)
    return groups


def _details(cells: np.ndarray) -> np.ndarray:
    """Return (n, GRID * GRID * 3) float32, without the mean colors and of length 1: products are correlations."""
    details = (cells - cells.mean((1, 2), keepdims=True, dtype=np.float32)).reshape(len(cells), -1)
    return details / np.linalg.norm(details, axis=1, keepdims=True)


def _bits(cells: np.ndarray) -> np.ndarray:
    """Return (n, 864) bool of cells (n, GRID, GRID, 3) uint8."""
    levels = cells.astype(np.int16)
    around = levels[:, :-2, 1:-1] + levels[:, 2:, 1:-1] + levels[:, 1:-1, :-2] + levels[:, 1:-1, 2:]
    difference = (4 * levels[:, 1:-1, 1:-1] - around).reshape(len(cells), (GRID - 2) ** 2 * 3)
    return np.concatenate([difference > 4, difference < -4], axis=1)
