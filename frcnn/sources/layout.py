"""Find folders in VOC layout and install one or several of them, joined, as the dataset."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from frcnn.data.voc.dataset import SETS, VOC_CLASSES, VocDataset, read_names
from frcnn.data.voc.image_list import Lines
from frcnn.data.voc.inside import require_plain, walk
from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.messages import cut, first_few
from frcnn.params import Download, Splits

PARTS = ("Annotations", "JPEGImages")
MENDS = {  # of images: whether the picture and the annotation are there -> what is missing, and the remedy
    (False, False): ("neither picture nor annotation", "write one picture per line, its path below JPEGImages without "
                     "extension"),
    (False, True): ("no picture", "add them"),
    (True, False): ("no annotation", "add them, without <object> where a picture shows none"),
}  # fmt: skip
Progress = Callable[[int, int | None], None]


def find_roots(folder: Path) -> list[VocDataset]:
    """Return the datasets at or below `folder`: folders with Annotations, JPEGImages and ImageSets/Main, sorted.

    Raises:
        UserError: there is none, or one without any image set.
    """
    datasets = _roots(folder)
    if not datasets:
        raise UserError(
            f"{folder}: no dataset in VOC layout: no folder with Annotations, JPEGImages and {SETS}; "
            "another layout: `frcnn download` first"
        )
    for dataset in datasets:
        dataset.require_splits()
    return datasets


def is_listed(folder: Path) -> bool:
    """Tell whether at or below `folder` is a dataset in VOC layout with lists."""
    return any(dataset.split_names for dataset in _roots(folder))


def install(
    sources: Sequence[VocDataset],
    folder: Path,
    download: Download = Download(),
    splits: Splits = Splits(),
    voc: bool = False,
    on_progress: Progress | None = None,
) -> list[str]:
    """Join datasets in `folder`: the listed pictures (hard links) and annotations (copies), splits, classes.txt.

    Splits of one name are concatenated in the order of `sources`. Only the lists to train and to test on have to be
    sound: of others, which no stage reads, what is not there is left out.

    Args:
        sources: datasets to join.
        folder: where to write; created.
        download: names of the classes, and what to do with ids of which a file is missing. Without names they are VOC's
            twenty if `voc` and there are no others, else those of the annotations, sorted.
        splits: names of the lists to train and to test on.
        voc: whether this is PASCAL VOC.
        on_progress: called with (pictures done, pictures in all).

    Returns:
        What was left out, a line each.

    Raises:
        UserError: an id in two of the sources, ids that lead outside or of which a file is missing, nothing that is
            listed, no class at all or one twice.
    """
    for part in (*PARTS, SETS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    used = (splits.train, splits.test)
    read = [_read_lists(source, used) for source in sources]
    missing = [_missing(*each) for each in zip(sources, read, strict=True)]
    if download.missing == "refuse":
        for_use = [{split: own[split] for split in used if split in own} for own in read]
        if lines := [line for each in zip(sources, for_use, missing, strict=True) for line in _refusals(*each)]:
            raise UserError(*lines)
    lists = [
        {split: list(dict.fromkeys(i for _, i in lines if i not in absent)) for split, lines in own.items()}
        for own, absent in zip(read, missing, strict=True)
    ]
    owners = _owners(sources, lists)
    if not owners:
        raise UserError(f"{sources[0].root}/{SETS}: no list names a picture that is there; write one id per line")
    for done, (image_id, source) in enumerate(owners.items(), 1):
        _link_all(image_id, source, folder)
        if on_progress:
            on_progress(done, len(owners))
    for split in dict.fromkeys(split for own in lists for split in own):
        lines = [image_id for own in lists for image_id in own.get(split, [])]
        write_text(folder / SETS / f"{split}.txt", "".join(f"{line}\n" for line in lines))
    names = download.classes or (None if voc else _listed_classes(sources)) or _annotated_classes(sources, owners, voc)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))
    read_names(folder / "classes.txt")
    absent = sum(map(len, missing))
    others = [
        f"{split}.txt"
        for each, own in zip(sources, read, strict=True)
        for split in each.split_names
        if split not in own
    ]
    remarks = [f"listed ids without picture or annotation, left out: {absent}"] if absent else []
    return remarks + ([f"lists that name no picture, left out: {first_few(others)}"] if others else [])


def missing_error(root: Path, what: str, places: Sequence[str], mend: str) -> UserError:
    """Return the exception for images of which something is missing, with the places that list them."""
    return UserError(
        f"{root}: {len(places)} listed {'image has' if len(places) == 1 else 'images have'} {what}: "
        f"{first_few(places)}; {mend}, or leave them out with download.missing: drop"
    )


def _roots(folder: Path) -> list[VocDataset]:
    roots = []
    for parent, folders, _ in walk(folder):
        if set(PARTS) <= set(folders):
            roots.append(parent)
            folders.clear()
    return [VocDataset(root) for root in sorted(roots, key=Path.as_posix)]


def _read_lists(source: VocDataset, used: Sequence[str]) -> dict[str, Lines]:
    """Return the lines of each split, without lists that no stage reads and that name no picture, as a README.txt."""
    lists = {}
    for split in source.split_names:
        try:
            lines = source.split_lines(split)
        except UserError:
            if split in used:
                raise
            continue
        if split in used or not lines or any(image_id in source.pictures for _, image_id in lines):
            lists[split] = lines
    return lists


def _missing(source: VocDataset, lists: dict[str, Lines]) -> dict[str, tuple[bool, bool]]:
    """Return the listed images of which a file is missing, with the key of `MENDS`."""
    ids = {image_id for lines in lists.values() for _, image_id in lines}
    there = {each: (each in source.pictures, source.annotation_path(each).exists()) for each in ids}
    return {image_id: files for image_id, files in there.items() if files in MENDS}


def _refusals(source: VocDataset, lists: dict[str, Lines], missing: dict[str, tuple[bool, bool]]) -> Iterator[str]:
    """Yield a line for each sort of files that are missing."""
    places: dict[str, str] = {}
    for split, lines in lists.items():
        name = source.split_path(split).name
        for number, image_id in lines:
            places.setdefault(image_id, f"{name} line {number} ({cut(image_id)})")
    for files, (what, mend) in MENDS.items():
        if found := [place for image_id, place in places.items() if missing.get(image_id) == files]:
            yield str(missing_error(source.root / SETS, what, found, mend))


def _owners(sources: Sequence[VocDataset], splits: Sequence[dict[str, list[str]]]) -> dict[str, VocDataset]:
    """Return the dataset that each image id comes from."""
    owners: dict[str, VocDataset] = {}
    for source, lists in zip(sources, splits, strict=True):
        for image_id in dict.fromkeys(image_id for ids in lists.values() for image_id in ids):
            if image_id in owners:
                other = owners[image_id].root
                raise UserError(f"{source.root}: picture {image_id} is also in {other}; rename one of them")
            owners[image_id] = source
    return owners


def _link_all(image_id: str, source: VocDataset, folder: Path) -> None:
    targets = {path: folder / path.relative_to(source.root) for path in source.pictures[image_id]}
    targets[source.annotation_path(image_id)] = folder / "Annotations" / f"{image_id}.xml"
    for path, target in targets.items():
        require_plain(path)
        (copy if target.suffix == ".xml" else link_or_copy)(path, target)


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are refused (another file system, another owner)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except FileExistsError as error:  # on macOS and Windows; a copy would be written into the other source
        raise UserError(f"{source}: another name differs from this one by case alone; rename one of them") from error
    except OSError:
        shutil.copyfile(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a small file, so that an edit of one leaves the other alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _listed_classes(sources: Sequence[VocDataset]) -> list[str]:
    """Return the classes.txt of a single source, nothing if it has none."""
    return sources[0].class_names if len(sources) == 1 and (sources[0].root / "classes.txt").exists() else []


def _annotated_classes(sources: Sequence[VocDataset], owners: dict[str, VocDataset], voc: bool) -> list[str]:
    ids = {source: [image_id for image_id, owner in owners.items() if owner is source] for source in sources}
    names = sorted({name for source in sources for name in source.annotated_class_names(ids[source])})
    if voc and set(names) <= set(VOC_CLASSES):
        return VOC_CLASSES
    if not names:
        raise UserError(f"{sources[0].root}: no object in any annotation; name the classes in download.classes")
    return names
