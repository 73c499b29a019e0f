"""What a detector found in one image, for programs of others."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from frcnn.detections.coco_results import results_of
from frcnn.detections.detections import Detections, join_detections
from frcnn.errors import UserError
from frcnn.images import to_array
from frcnn.messages import first_few

if TYPE_CHECKING:
    import pandas as pd

    from frcnn.images import AnyImage


@dataclass(frozen=True, eq=False)
class Result(Detections):
    """Detections of one image, best first, in pixels of the original; the arrays cannot be written to.

    Attributes:
        boxes: (D, 4) float32 xyxy, continuous pixels.
        scores: (D,) float32.
        labels: (D,) int64, 1..C.
        class_names: C names; label 1 is the first.
        size: width and height of the image in pixels.
        image: what was passed; a file is read again by `draw`, so that many results need little memory.
    """

    class_names: tuple[str, ...]
    size: tuple[int, int]
    image: "AnyImage" = field(repr=False)

    def __post_init__(self) -> None:
        """Protect the arrays."""
        for name in ("boxes", "scores", "labels"):
            array = np.array(getattr(self, name))
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __reduce__(self) -> tuple[Any, ...]:
        """Have pickle make the object anew, since it forgets that arrays are protected."""
        return Result, (self.boxes, self.scores, self.labels, self.class_names, self.size, self.image)

    @property
    def names(self) -> list[str]:
        """The class of each detection, D names."""
        return [self.class_names[label - 1] for label in self.labels]

    def filter(self, score: float = 0.0, classes: Iterable[str] | None = None) -> Self:
        """Return the detections with at least this score, and of these classes.

        Raises:
            UserError: there is no such class.
        """
        if classes is None:
            return self.above(score)
        labels = labels_of(classes, self.class_names)
        return self.take((self.scores >= score) & np.isin(self.labels, labels))

    def draw(self) -> Image.Image:
        """Return the picture with boxes, names and scores; small pictures are enlarged.

        Raises:
            UserError: the file of the picture is not there any more.
        """
        from frcnn.report.drawing import draw

        return Image.fromarray(draw(to_array(self.image), self, self.class_names))

    def to_dict(self) -> dict[str, Any]:
        """Return width, height and detections as plain numbers and texts, rounded as `frcnn predict` writes them."""
        rows = zip(self.labels.tolist(), self.names, self.scores.tolist(), self.boxes.tolist(), strict=True)
        detections = [
            {"label": label, "class": name, "score": round(score, 6), "box": [round(value, 2) for value in box]}
            for label, name, score, box in rows
        ]
        return {"width": self.size[0], "height": self.size[1], "detections": detections}

    def to_pandas(self) -> "pd.DataFrame":
        """Return a table with the columns x1, y1, x2, y2, score, label and class."""
        import pandas as pd

        table = pd.DataFrame(self.boxes, columns=["x1", "y1", "x2", "y2"])
        return table.assign(score=self.scores, label=self.labels, **{"class": self.names})

    def to_coco(self, image_id: int | str | None = None) -> list[dict[str, Any]]:
        """Return COCO results: image_id, category_id (the label), bbox (x, y, width, height) and score.

        Args:
            image_id: default: the name of the picture's file without extension.

        Raises:
            ValueError: there is neither an id nor a file.
        """
        if image_id is None:
            if not isinstance(self.image, str | Path):
                raise ValueError("to_coco: this image is no file, so pass its image_id")
            image_id = Path(self.image).stem
        entries = results_of(join_detections([str(image_id)], self.class_names, [self]))
        return [entry | {"image_id": image_id} for entry in entries]

    def to_supervision(self) -> Any:
        """Return the package supervision's `Detections`; class_id counts from 0.

        Raises:
            UserError: the package is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise UserError(
                "to_supervision: the package supervision is not installed; pip install supervision"
            ) from error
        names = {"class_name": np.array(self.names, dtype=str)}
        return supervision.Detections(
            xyxy=self.boxes.copy(), confidence=self.scores.copy(), class_id=self.labels - 1, data=names
        )


def labels_of(names: Iterable[str], class_names: Iterable[str]) -> list[int]:
    """Return the labels of classes.

    Raises:
        UserError: there is no such class.
        TypeError: the names are one text.
    """
    if isinstance(names, str):
        raise TypeError(f"classes: pass a list of names, such as [{names!r}]")
    known = {name: label for label, name in enumerate(class_names, 1)}
    wanted = list(names)
    if unknown := [name for name in wanted if name not in known]:
        raise UserError(f"{unknown[0]}: no class of this detector; it knows {first_few(list(known), 20)}")
    return [known[name] for name in wanted]
