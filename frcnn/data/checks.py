"""Read a whole dataset, decode every picture, and report every problem and what each split holds."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from frcnn.data.voc import problems as kinds
from frcnn.data.voc.annotation import Annotation, bare_reason
from frcnn.data.voc.dataset import VocDataset, empty_split
from frcnn.data.voc.pictures import read_picture
from frcnn.data.voc.problems import NO_SPLIT, Problem
from frcnn.errors import UserError


@dataclass(frozen=True)
class Count:
    """How often a class (or, in sums, any) stands in a split: objects, images that hold one, difficult objects."""

    objects: int
    images: int
    difficult: int


@dataclass(frozen=True)
class SplitCounts:
    """What training would find in one split: images and how many of them show nothing, counts by class name."""

    images: int
    empty: int
    classes: dict[str, Count]


@dataclass(frozen=True)
class CheckReport:
    """Outcome of `check_dataset`; pictures are counted once, however many splits name them.

    Attributes:
        training: annotations of the training split, in its order, without those that are refused.
    """

    class_names: list[str]
    pictures: int
    problems: list[Problem]
    splits: dict[str, SplitCounts]
    training: list[Annotation]


def missing_split(split: str) -> Problem:
    """Return the problem of a split that `splits` in params.yaml names and the dataset lacks."""
    return Problem(f"ImageSets/Main/{split}.txt", "", "no such split, which `splits` in params.yaml names", NO_SPLIT)


def check_dataset(
    root: Path,
    box_convention: str,
    workers: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
    train: str = "trainval",
) -> CheckReport:
    """Check all splits of a dataset in VOC layout; classes.txt may be missing, then any class is known.

    Args:
        root: folder with Annotations, JPEGImages and ImageSets/Main.
        box_convention: voc, continuous or reference.
        workers: threads.
        on_progress: called with (pictures done, pictures in all).
        train: the training split.

    Raises:
        UserError: no folder, no split at all, or a classes.txt that cannot be read.
    """
    dataset = VocDataset(root)
    if not dataset.root.is_dir():
        raise UserError(f"{root}: no such folder; name a dataset in VOC layout or run `frcnn download` first")
    dataset.require_splits()
    problems: list[Problem] = []
    splits = {split: _check_list(dataset, split, problems) for split in dataset.split_names}
    ids = list(dict.fromkeys(image_id for split_ids in splits.values() for image_id in split_ids))
    listed = (dataset.root / "classes.txt").exists()
    class_names = dataset.class_names if listed else dataset.annotated_class_names(ids)
    labels = {name: label for label, name in enumerate(class_names, 1)}
    annotations: dict[str, Annotation | None] = {}
    dataset.pictures  # noqa: B018 - read once, before the threads ask for them
    with ThreadPoolExecutor(max(1, workers)) as pool:
        results = pool.map(lambda image_id: _check_picture(dataset, labels, box_convention, image_id), ids)
        for image_id, (annotation, found) in zip(ids, results, strict=True):
            annotations[image_id] = annotation
            problems += found
            if on_progress:
                on_progress(len(annotations), len(ids))
    readable = {
        split: [annotation for i in split_ids if (annotation := annotations[i]) is not None]
        for split, split_ids in splits.items()
    }
    counts = {split: _count(own, class_names) for split, own in readable.items()}
    return CheckReport(class_names, len(ids), problems, counts, readable.get(train, []))


def _check_list(dataset: VocDataset, split: str, problems: list[Problem]) -> list[str]:
    """Return the distinct ids of a split and note what is wrong with its list."""
    first: dict[str, int] = {}
    for number, image_id in dataset.split_lines(split):
        if image_id in first:
            what = f"{image_id} is listed on line {first[image_id]} already"
            problems.append(Problem(f"ImageSets/Main/{split}.txt", f"line {number}", what, kinds.DUPLICATE_ID))
        first.setdefault(image_id, number)
    if not first:
        problems.append(empty_split(split))
    return list(first)


def _check_picture(
    dataset: VocDataset, labels: dict[str, int], box_convention: str, image_id: str
) -> tuple[Annotation | None, list[Problem]]:
    annotation, problems = dataset.annotation(image_id, labels, box_convention)
    if image_id not in dataset.pictures or any(problem.kind == kinds.BAD_PICTURE for problem in problems):
        return annotation, problems
    path = dataset.pictures[image_id][0]
    try:
        read_picture(path)
    except UserError as error:
        file = path.relative_to(dataset.root).as_posix()
        return None, [*problems, Problem(file, "", bare_reason(error, path), kinds.BAD_PICTURE)]
    return annotation, problems


def _count(annotations: list[Annotation], class_names: list[str]) -> SplitCounts:
    classes = {}
    for label, name in enumerate(class_names, 1):
        own = [annotation.labels == label for annotation in annotations]
        classes[name] = Count(
            objects=sum(int(chosen.sum()) for chosen in own),
            images=sum(bool(chosen.any()) for chosen in own),
            difficult=sum(int((chosen & a.difficult).sum()) for chosen, a in zip(own, annotations, strict=True)),
        )
    empty = sum(len(annotation.labels) == 0 for annotation in annotations)
    return SplitCounts(len(annotations), empty, classes)
