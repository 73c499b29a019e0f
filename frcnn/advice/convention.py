"""Find out from the numbers in annotation files whether they count from 0 or from 1."""

from dataclasses import dataclass

import numpy as np

from frcnn.data.voc.annotation import CORNERS, parse_xml
from frcnn.data.voc.dataset import VocDataset
from frcnn.data.voc.pictures import picture_size
from frcnn.errors import UserError

LEAST = 3  # numbers at the border that speak for one of the two


@dataclass(frozen=True)
class Evidence:
    """How many numbers, as written, lie at the borders.

    Attributes:
        zeros: xmin or ymin is 0, the first pixel where counting starts at 0.
        ones: xmin or ymin is 1, the first pixel where it starts at 1.
        full: xmax is the width or ymax the height: the last pixel from 1 on, or the border in continuous pixels.
        short: one less than that: the last pixel from 0 on.
    """

    zeros: int
    ones: int
    full: int
    short: int

    @property
    def convention(self) -> str | None:
        """The value of `data.box_convention` that fits: voc, continuous, or None where the numbers do not tell."""
        if self.zeros >= LEAST and self.zeros > self.ones:
            return "continuous"
        return "voc" if self.ones >= LEAST and self.ones > self.zeros and self.full >= self.short else None

    def __str__(self) -> str:
        """Say what was counted."""
        last = f"{self.full} xmax or ymax are the picture's width or height, {self.short} one less"
        return f"as written {self.zeros} xmin or ymin are 0 and {self.ones} are 1; {last}"


def count_at_borders(dataset: VocDataset) -> Evidence:
    """Count in all annotations of all splits; files that state their own convention or cannot be read are left out."""
    counts = np.zeros(4, np.int64)
    ids = dict.fromkeys(image_id for split in dataset.split_names for _, image_id in dataset.split_lines(split))
    for image_id in ids:
        root = parse_xml(dataset.root, dataset.annotation_path(image_id), [])
        if root is None or image_id not in dataset.pictures or root.get("boxes") == "continuous":
            continue
        boxes = [box for element in root.iter("object") for box in element.findall("bndbox")]
        try:
            corners = np.array([[box.findtext(corner) or "nan" for corner in CORNERS] for box in boxes], np.float64)
            limits = np.array(picture_size(dataset.pictures[image_id][0]))
        except (UserError, ValueError):
            continue  # the list of problems names it
        low, high = np.split(corners.reshape(-1, 4), 2, axis=1)
        counts += [(low == 0).sum(), (low == 1).sum(), (high == limits).sum(), (high == limits - 1).sum()]
    return Evidence(*counts.tolist())
