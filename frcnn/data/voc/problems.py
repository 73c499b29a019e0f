"""What can be wrong with a dataset, and what training does about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from frcnn.errors import UserError

Action = Literal["refuse", "drop", "clip", "note"]
MARKER = ".frcnn-dataset"  # tells a folder that `frcnn download` may replace from a user's own


@dataclass(frozen=True)
class Kind:
    """One sort of problem: its name, what training does about it, and how to mend it."""

    name: str
    action: Action
    mend: str


NO_SPLIT = Kind("split that names nothing", "refuse", "write one image id a line")
BAD_LIST = Kind("unreadable list", "refuse", "write one image id a line, in UTF-8")
NO_OBJECT = Kind("training without objects", "refuse", "annotate objects, or name another list in `splits`")
NO_PICTURE = Kind("missing picture", "refuse", "add it, or take the id out of ImageSets/Main")
BAD_PICTURE = Kind("unreadable picture", "refuse", "replace it, or take the id out of ImageSets/Main")
TWO_PICTURES = Kind("several pictures of one id", "note", "remove those that are not meant")
NO_ANNOTATION = Kind(
    "missing annotation", "refuse", "write one without <object> if the picture shows none, or take the id out"
)
BAD_XML = Kind("malformed XML", "refuse", "mend the file, or take the id out of ImageSets/Main")
BAD_OBJECT = Kind("incomplete object", "refuse", "mend or remove the object")
UNKNOWN_CLASS = Kind("unknown class", "refuse", "add it to the class list, or rename or remove the object")
EMPTY_BOX = Kind("zero or inverted box", "drop", "mend or remove the object")
BOX_OUTSIDE = Kind("box outside the picture", "drop", "mend or remove the object")
BOX_ACROSS = Kind("box across the picture's border", "clip", "mend the box, or choose another data.box_convention")
DUPLICATE_ID = Kind("duplicate id", "drop", "remove the second line")
WRONG_SIZE = Kind("size that disagrees with the picture", "note", "mend the <size> element")
BAD_DIFFICULT = Kind("difficult that is neither 0 nor 1", "note", "write 0 or 1")


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        file: path relative to the dataset folder, with forward slashes.
        where: place in that file, as "object 2 (wrench)" or "line 12"; empty for the whole file.
        what: what is wrong, with the values found.
        kind: which sort of problem; knows the action and the remedy.
    """

    file: str
    where: str
    what: str
    kind: Kind

    @property
    def action(self) -> Action:
        """Return what training does: refuse the dataset, drop the object or line, clip the box, or only note it."""
        return self.kind.action


def problem_to_error(problem: Problem, dataset: Path) -> UserError:
    """Return the exception with which training refuses `dataset`."""
    place = f"{problem.where}: " if problem.where else ""
    return UserError(f"{dataset / problem.file}: {place}{problem.what}; {problem.kind.mend}{_where_to_mend(dataset)}")


def _where_to_mend(dataset: Path) -> str:
    """Return what to add to a remedy: what `frcnn download` has made is mended in its source."""
    return " (in download.source: `frcnn download` makes this folder anew)" if (dataset / MARKER).exists() else ""
