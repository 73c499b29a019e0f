"""Find folders in VOC layout and install one or several of them, joined, as the dataset."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from frcnn.data.voc.dataset import SETS, VOC_CLASSES, VocDataset, read_names
from frcnn.data.voc.inside import require_inside
from frcnn.errors import UserError
from frcnn.files import write_text

PARTS = ("Annotations", "JPEGImages")
MARKER = ".frcnn-dataset"  # tells a folder that may be replaced from a user's own
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
    class_names: Sequence[str] | None = None,
    voc: bool = False,
    on_progress: Progress | None = None,
) -> None:
    """Join datasets in `folder`: hard links to the pictures and annotations that a split lists, splits, classes.txt.

    Splits of one name are concatenated in the order of `sources`. Pictures and annotations that are missing stay
    missing; reading the dataset reports them.

    Args:
        sources: datasets to join.
        folder: where to write; created.
        class_names: in order; None: VOC's twenty if `voc` and there are no others, else those of the annotations,
            sorted.
        voc: whether this is PASCAL VOC.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        UserError: an id in two of the sources, an id or a link that leads outside, no class at all or one twice.
    """
    for part in (*PARTS, SETS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    splits = [{split: _ids(source, split) for split in source.split_names} for source in sources]
    owners = _owners(sources, splits)
    for done, (image_id, source) in enumerate(owners.items(), 1):
        _link_all(image_id, source, folder)
        if on_progress:
            on_progress(done, len(owners))
    for split in dict.fromkeys(split for lists in splits for split in lists):
        lines = [image_id for lists in splits for image_id in lists.get(split, [])]
        write_text(folder / SETS / f"{split}.txt", "".join(f"{line}\n" for line in lines))
    listed = class_names or (None if voc else _listed_classes(sources))
    names = listed or _annotated_classes(VocDataset(folder), list(owners), voc)
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))
    read_names(folder / "classes.txt")


def _roots(folder: Path) -> list[VocDataset]:
    roots = []
    for parent, folders, _ in os.walk(folder):
        if set(PARTS) <= set(folders):
            roots.append(Path(parent))
            folders.clear()
    return [VocDataset(root) for root in sorted(roots)]


def _ids(source: VocDataset, split: str) -> list[str]:
    """Return the ids of a split without the second of a duplicate; a split may be empty."""
    return list(dict.fromkeys(image_id for _, image_id in source.split_lines(split)))


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
    annotation = source.root / "Annotations" / f"{image_id}.xml"
    for path in (*source.pictures.get(image_id, []), annotation):
        require_inside(source.root, path)
        if path.exists():
            link_or_copy(path, folder / path.relative_to(source.root))


def link_or_copy(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are refused (another file system, another owner)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _listed_classes(sources: Sequence[VocDataset]) -> list[str]:
    """Return the classes.txt of a single source, nothing if it has none."""
    return sources[0].class_names if len(sources) == 1 and (sources[0].root / "classes.txt").exists() else []


def _annotated_classes(dataset: VocDataset, image_ids: list[str], voc: bool) -> list[str]:
    annotations = dataset.root / "Annotations"
    if not any((annotations / f"{image_id}.xml").exists() for image_id in image_ids):
        missing = f"{annotations}/{image_ids[0]}.xml"
        raise UserError(f"{missing}: no such file, nor one of any other id; ids in {SETS} have no extension")
    names = dataset.annotated_class_names(image_ids)
    if voc and set(names) <= set(VOC_CLASSES):
        return VOC_CLASSES
    if not names:
        raise UserError(f"{annotations}: no object in any annotation; name the classes in download.classes")
    return names
