"""Read datasets in VOC layout: Annotations/ID.xml, JPEGImages/ID.EXT, ImageSets/Main/SPLIT.txt, classes.txt."""

import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from frcnn.data.voc import problems as kinds
from frcnn.data.voc.annotation import Annotation, read_annotation
from frcnn.data.voc.problems import Problem, problem_to_error
from frcnn.errors import UserError

__all__ = ["Annotation", "find_pictures", "find_splits", "read_annotations", "read_classes", "read_split"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")  # the first found is taken
FLAGGED = re.compile(r"(.*\S)\s+(?:-1|0|1)")  # "000012 -1", as in per-class lists
# In the official order, which is also the alphabetical one.
VOC_CLASSES = [  # fmt: skip
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip


def read_classes(dataset: Path) -> list[str]:
    """Return the class names of `dataset`/classes.txt in order, without background.

    Raises:
        UserError: as `read_names`.
    """
    path = Path(dataset) / "classes.txt"
    if not path.is_file():
        raise UserError(f"{path}: no such file; run `frcnn download` first")
    return read_names(path)


def read_names(path: Path) -> list[str]:
    """Return the class names of a text file in order, one a line.

    Raises:
        UserError: no such file, no text, an empty one, or a name twice.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable text file ({error}); write one class name a line") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise UserError(
            f"{path}: {f'{twice[0]} stands there twice' if twice else 'empty'}; write one class name a line"
        )
    return names


def find_splits(dataset: Path) -> list[str]:
    """Return the names of the splits in ImageSets/Main, sorted, without VOC's per-class lists as cat_train.txt."""
    names = {path.stem for path in (Path(dataset) / "ImageSets" / "Main").glob("*.txt")}
    return sorted(name for name in names if not _is_per_class(Path(dataset), name, names))


def read_split(dataset: Path, split: str) -> list[str]:
    """Return the image ids of a split in file order, the second of a duplicate left out.

    CRLF, blank lines and a flag after every id (as in VOC's per-class files) are tolerated.

    Raises:
        UserError: no such split, or one that names nothing.
    """
    ids = list(dict.fromkeys(image_id for _, image_id in read_split_lines(dataset, split)))
    if not ids:
        raise problem_to_error(empty_split(split), Path(dataset))
    return ids


def read_split_lines(dataset: Path, split: str) -> list[tuple[int, str]]:
    """Return (line number, image id) for every line of a split that is not blank.

    Raises:
        UserError: no such split.
    """
    path = split_path(dataset, split)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        there = ", ".join(find_splits(dataset))
        hint = f"splits there: {there}" if there else "run `frcnn download` first"
        raise UserError(f"{path}: no such split: {error.strerror}; {hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text; save it as UTF-8") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    # Only where every line ends with a flag: an id may itself end with a blank and a digit.
    flagged = [FLAGGED.fullmatch(line) for _, line in lines]
    if lines and all(flagged) and not (Path(dataset) / "Annotations" / f"{lines[0][1]}.xml").exists():
        return [(number, match[1]) for (number, _), match in zip(lines, flagged, strict=True) if match]
    return lines


def split_path(dataset: Path, split: str) -> Path:
    """Return the file that lists the ids of a split."""
    return Path(dataset) / "ImageSets" / "Main" / f"{split}.txt"


def empty_split(split: str) -> Problem:
    """Return the problem of a split without ids."""
    return Problem(f"ImageSets/Main/{split}.txt", "", "names no image", kinds.NO_SPLIT)


def find_pictures(dataset: Path) -> dict[str, list[Path]]:
    """Return the pictures below JPEGImages by image id; several of one id in the order of `EXTENSIONS`."""
    folder = Path(dataset) / "JPEGImages"
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in EXTENSIONS and path.is_file():
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    for paths in found.values():
        paths.sort(key=lambda path: EXTENSIONS.index(path.suffix.lower()))
    return found


def read_annotations(dataset: Path, split: str, box_convention: str, workers: int = 1) -> list[Annotation]:
    """Read the annotations of a split, in its order; `workers` threads.

    Objects without extent are left out and boxes clipped, as `frcnn check` lists.

    Raises:
        UserError: the first problem that training refuses: file, place, what, remedy.
    """
    dataset = Path(dataset)
    class_names = read_classes(dataset)
    ids = read_split(dataset, split)
    labels = {name: label for label, name in enumerate(class_names, 1)}
    pictures = find_pictures(dataset)
    read = partial(_read_or_raise, dataset, pictures, labels, box_convention)
    if workers <= 1:
        return [read(image_id) for image_id in ids]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(read, ids))


def _is_per_class(dataset: Path, name: str, names: set[str]) -> bool:
    """Tell whether a list is CLASS_SPLIT beside SPLIT, with a flag after every id."""
    if not any(name.endswith(f"_{other}") for other in names):
        return False
    lines = split_path(dataset, name).read_text(encoding="utf-8-sig", errors="replace").split("\n")
    return all(FLAGGED.fullmatch(line.strip()) for line in lines if line.strip())


def _read_or_raise(
    dataset: Path, pictures: dict[str, list[Path]], labels: dict[str, int], box_convention: str, image_id: str
) -> Annotation:
    annotation, found = read_annotation(dataset, image_id, pictures, labels, box_convention)
    if annotation is None:
        raise problem_to_error(next(problem for problem in found if problem.action == "refuse"), dataset)
    return annotation


def pictures_of(dataset: Path, image_ids: list[str]) -> list[Path]:
    """Return the picture of each image.

    Raises:
        UserError: one has none.
    """
    pictures = find_pictures(dataset)
    for image_id in image_ids:
        if image_id not in pictures:
            raise UserError(f"{dataset}/JPEGImages: no picture of {image_id}; `frcnn check` lists all that is missing")
    return [pictures[image_id][0] for image_id in image_ids]
