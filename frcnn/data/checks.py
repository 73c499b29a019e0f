"""Read a whole dataset, decode every picture, and report every problem and what each split holds."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from frcnn.data.lookalikes import Fingerprint, fingerprint
from frcnn.data.notes import DARK, Split, class_notes, darkness_note, leak_notes, object_notes, spelling_notes
from frcnn.data.voc import problems as kinds
from frcnn.data.voc.annotation import Annotation, bare_reason
from frcnn.data.voc.dataset import SETS, VocDataset, empty_split
from frcnn.data.voc.pictures import decode
from frcnn.data.voc.problems import Problem
from frcnn.errors import UserError
from frcnn.params import Data, Params, Splits


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


class _Checked(NamedTuple):
    """What was found out about an image; an annotation that is refused and a picture that cannot be read are None."""

    annotation: Annotation | None
    problems: list[Problem]
    fingerprint: Fingerprint | None


def joint_problems(reports: Sequence[CheckReport], splits: Splits) -> list[Problem]:
    """Return what training refuses of datasets that `download` would join: a split none has, or no object at all."""
    problems = []
    for name in dict.fromkeys((splits.train, splits.test)):
        found = [report.splits[name] for report in reports if name in report.splits]
        if not found:
            what = "no such split, which `splits` in params.yaml names"
            problems.append(Problem(f"{SETS}/{name}.txt", "", what, kinds.NO_SPLIT))
        elif name == splits.train and 0 < sum(e.images for e in found) == sum(e.empty for e in found):
            what = "no picture of this split shows an object to learn"
            problems.append(Problem(f"{SETS}/{name}.txt", "", what, kinds.NO_OBJECT))
    return problems


def check_dataset(
    root: Path, params: Params, workers: int = 1, on_progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Check all splits of a dataset in VOC layout; classes.txt may be missing, then any class is known.

    What is wrong with images that neither the training nor the test split names is a note: no stage reads them.

    Args:
        root: folder with Annotations, JPEGImages and ImageSets/Main.
        params: `splits` and `data` count.
        workers: threads.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        UserError: no folder, no split at all, or a classes.txt that cannot be read.
    """
    dataset = VocDataset(root)
    if not dataset.root.is_dir():
        raise UserError(f"{root}: no such folder; name a dataset in VOC layout or run `frcnn download` first")
    dataset.require_splits()
    used = {params.splits.train, params.splits.test}
    problems: list[Problem] = []
    names = [*dataset.split_names, *(split for split in sorted(used) if dataset.split_path(split).is_file())]
    splits: dict[str, list[str]] = {}
    for split in dict.fromkeys(names):
        splits[split], found = _check_list(dataset, split)
        problems += found if split in used else map(_as_note, found)
    ids = list(dict.fromkeys(image_id for split_ids in splits.values() for image_id in split_ids))
    read = {image_id for split in used for image_id in splits.get(split, [])}
    listed = (dataset.root / "classes.txt").exists()
    class_names = dataset.class_names if listed else dataset.annotated_class_names(ids)
    checked: dict[str, _Checked] = {}
    dataset.pictures  # noqa: B018 - read once, before the threads ask for them
    check = partial(_check_image, dataset, {name: label for label, name in enumerate(class_names, 1)}, params.data)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for image_id, each in zip(ids, pool.map(check, ids), strict=True):
            checked[image_id] = each
            problems += each.problems if image_id in read else map(_as_note, each.problems)
            if on_progress:
                on_progress(len(checked), len(ids))
    readable = {
        split: [annotation for i in split_ids if (annotation := checked[i].annotation) is not None]
        for split, split_ids in splits.items()
    }
    counts = {split: _count(annotations, class_names) for split, annotations in readable.items()}
    problems += spelling_notes(class_names, "classes.txt" if listed else "Annotations")
    if used <= set(splits):
        problems += _compare(dataset, params, splits, counts, checked)
    return CheckReport(class_names, len(ids), problems, counts, readable.get(params.splits.train, []))


def _compare(
    dataset: VocDataset,
    params: Params,
    splits: dict[str, list[str]],
    counts: dict[str, SplitCounts],
    checked: dict[str, _Checked],
) -> list[Problem]:
    """Return what is odd about the training and the test split together."""
    names = params.splits.train, params.splits.test
    parts = []
    for name in names:
        prints = {i: each for i in splits[name] if (each := checked[i].fingerprint) is not None}
        parts.append(Split(name, splits[name], prints))
    files = {i: dataset.pictures[i][0].relative_to(dataset.root).as_posix() for part in parts for i in part.prints}
    notes = leak_notes(parts[0], parts[1], files)
    if all(counts[name].images == len(splits[name]) for name in names):  # else the counts are too low
        left_out = [0 if params.data.train_difficult else 1, 1]  # of difficult objects
        trained, tested = (
            {name: each.objects - each.difficult * share for name, each in counts[split].classes.items()}
            for split, share in zip(names, left_out, strict=True)
        )
        notes += class_notes(trained, tested, names)
    return notes


def _check_list(dataset: VocDataset, split: str) -> tuple[list[str], list[Problem]]:
    """Return the distinct ids of a split, and what is wrong with its list."""
    file, problems = f"{SETS}/{split}.txt", []
    try:
        lines = dataset.split_lines(split)
    except UserError as error:
        reasons = [bare_reason(UserError(line), dataset.split_path(split)) for line in error.args]
        return [], [Problem(file, "", reason, kinds.BAD_LIST) for reason in reasons]
    first: dict[str, int] = {}
    for number, image_id in lines:
        if image_id in first:
            what = f"{image_id} is listed on line {first[image_id]} already"
            problems.append(Problem(file, f"line {number}", what, kinds.DUPLICATE_ID))
        first.setdefault(image_id, number)
    return list(first), problems if first else [empty_split(split)]


def _check_image(dataset: VocDataset, labels: dict[str, int], data: Data, image_id: str) -> _Checked:
    annotation, problems = dataset.annotation(image_id, labels, data.box_convention)
    if annotation is not None:
        dropped = {problem.where.partition(" (")[0] for problem in problems if problem.action == "drop"}
        places = range(1, len(annotation.labels) + len(dropped) + 1)
        numbers = [number for number in places if f"object {number}" not in dropped]
        problems += object_notes(annotation, numbers, list(labels), data)
    if image_id not in dataset.pictures or any(problem.kind == kinds.BAD_PICTURE for problem in problems):
        return _Checked(annotation, problems, None)
    path = dataset.pictures[image_id][0]
    file = path.relative_to(dataset.root).as_posix()
    try:
        picture, levels = decode(path)
    except UserError as error:
        return _Checked(None, [*problems, Problem(file, "", bare_reason(error, path), kinds.BAD_PICTURE)], None)
    found = fingerprint(picture)
    if found.cells.max() < DARK and (note := darkness_note(file, picture, levels)):
        problems.append(note)
    return _Checked(annotation, problems, found)


def _as_note(problem: Problem) -> Problem:
    """Return a problem of what no stage reads."""
    kind = problem.kind
    return replace(problem, kind=replace(kind, name=f"not used: {kind.name}", action="note"))


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
