"""Run a detector over a split of a dataset."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frcnn import distributed
from frcnn.arrays import size_of
from frcnn.data.resizing.sizes import order_by_shape
from frcnn.data.voc.dataset import VocDataset
from frcnn.data.voc.pictures import picture_size, read_picture
from frcnn.detections.detections import Detections, SplitDetections, join_detections
from frcnn.detector.interfaces import Detector
from frcnn.detector.run import detect_resized, prepare
from frcnn.errors import UserError
from frcnn.params import Detect
from frcnn.read_ahead import read_ahead


def require_classes(detector: Detector, data: VocDataset, weights: Path | str) -> None:
    """Require that a detector was trained on the classes of a dataset.

    Raises:
        UserError: it was not.
    """
    if list(detector.config.class_names) != data.class_names:
        raise UserError(f"{weights}: trained on other classes than {data.root}/classes.txt lists; train again")


def detect_split(
    detector: Detector,
    data: VocDataset,
    split: str,
    settings: Detect,
    show: Callable[[Iterable[Any], int], Iterable[Any]] = lambda items, total: items,
) -> SplitDetections:
    """Return the detections in the images of a split; several processes share the work.

    Args:
        show: passes items on, of which it knows the number, and shows the progress.

    Raises:
        UserError: the split or a picture cannot be read.
    """
    ids = data.split(split)
    pictures = data.pictures_of(ids)
    order = order_by_shape(np.array([picture_size(path) for path in pictures]))
    own = distributed.share([pictures[index] for index in order], settings.batch_size)
    done = _detect_all(detector, own, settings)
    by_order = distributed.in_order(list(show(done, len(own))), settings.batch_size)
    return join_detections(ids, data.class_names, [by_order[rank] for rank in np.argsort(order)], split)


def _detect_all(detector: Detector, pictures: Sequence[Path], settings: Detect) -> Iterator[Detections]:
    """Yield the detections of each picture in order; the next batches are read by threads meanwhile."""

    def load(paths: Sequence[Path]) -> tuple[list[np.ndarray], list[tuple[int, int]]]:
        originals = [read_picture(path) for path in paths]
        return [prepare(image, detector) for image in originals], list(map(size_of, originals))

    batches = [pictures[i : i + settings.batch_size] for i in range(0, len(pictures), settings.batch_size)]
    for images, sizes in read_ahead(load, batches):
        yield from detect_resized(detector, images, sizes, settings, settings.precision)
