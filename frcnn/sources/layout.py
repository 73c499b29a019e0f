"""Find folders in VOC layout and install one or several of them, joined, as the dataset."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from frcnn.data.voc.annotation import class_names_found
from frcnn.data.voc.dataset import VOC_CLASSES, find_pictures, find_splits, read_classes, read_split_lines
from frcnn.errors import UserError
from frcnn.files import write_text

PARTS = ("Annotations", "JPEGImages")
SETS = "ImageSets/Main"
MARKER = ".frcnn-dataset"  # tells a folder that may be replaced from a user's own
Progress = Callable[[int, int | None], None]


def find_roots(folder: Path) -> list[Path]:
    """Return the folders at or below `folder` that hold Annotations, JPEGImages and ImageSets/Main, sorted.

    Raises:
        UserError: there is none, or one without any image set.
    """
    roots = []
    for place, folders, _ in os.walk(folder):
        if set(PARTS) <= set(folders):
            roots.append(Path(place))
            folders.clear()
    if not roots:
        raise UserError(f"{folder}: no dataset in VOC layout: no folder with Annotations, JPEGImages and {SETS}")
    for root in roots:
        if not find_splits(root):
            raise UserError(
                f"{root}/{SETS}: no image sets; write trainval.txt and test.txt there, one picture's name without "
                "extension a line"
            )
    return sorted(roots)


def install(
    roots: Sequence[Path],
    dataset: Path,
    class_names: Sequence[str] | None = None,
    voc: bool = False,
    on_progress: Progress | None = None,
) -> None:
    """Join datasets in `dataset`: hard links to the pictures and annotations that a split names, splits, classes.txt.

    Splits of one name are concatenated in the order of `roots`. Pictures and annotations that are missing stay
    missing; reading the dataset reports them.

    Args:
        roots: folders in VOC layout.
        dataset: folder to fill; created.
        class_names: in order; None: VOC's twenty if `voc` and no other is found, else those of the annotations, sorted.
        voc: whether this is PASCAL VOC.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        UserError: an id in two of the roots, an id that leads outside, no class at all or one twice.
    """
    for part in (*PARTS, SETS):
        (dataset / part).mkdir(parents=True, exist_ok=True)
    splits = [{split: _ids(root, split) for split in find_splits(root)} for root in roots]
    owners = _owners(roots, splits)
    pictures = {root: find_pictures(root) for root in roots}
    for done, (image_id, root) in enumerate(owners.items(), 1):
        _link_all(image_id, root, pictures[root].get(image_id, []), dataset)
        if on_progress:
            on_progress(done, len(owners))
    for split in dict.fromkeys(split for lists in splits for split in lists):
        lines = [image_id for lists in splits for image_id in lists.get(split, [])]
        write_text(dataset / SETS / f"{split}.txt", "".join(f"{line}\n" for line in lines))
    listed = class_names or (None if voc else _own_classes(roots))
    names = listed or _default_classes(dataset, list(owners), voc)
    write_text(dataset / "classes.txt", "".join(f"{name}\n" for name in names))
    read_classes(dataset)


@contextmanager
def replaced_folder(dataset: Path) -> Iterator[Path]:
    """Yield an empty folder beside `dataset`; what the block leaves in its "new" takes the place of `dataset`.

    The rest of that folder is scratch. On any error `dataset` stays as it was.

    Raises:
        UserError: `dataset` is a file or a folder of something else, or cannot be written.
    """
    dataset = Path(dataset)
    _check_replaceable(dataset)
    scratch = dataset.with_name(f".{dataset.name}.{os.getpid()}.tmp")
    try:
        for abandoned in dataset.parent.glob(f".{dataset.name}.*.tmp"):  # by a run that was killed
            shutil.rmtree(abandoned)
        scratch.mkdir(parents=True)
        yield scratch
        write_text(scratch / "new" / MARKER, "Written by `frcnn download`, which replaces this folder as a whole.\n")
        old = scratch / "old"
        if dataset.exists():
            dataset.replace(old)
        try:
            (scratch / "new").replace(dataset)
        except OSError:
            if old.exists():
                old.replace(dataset)
            raise
    except OSError as error:
        raise UserError(f"{dataset}: cannot be written: {error.strerror or error}") from error
    except UserError as error:  # names of scratch files mean nothing to the user
        text = str(error).replace(f"{scratch}/new", str(dataset)).replace(f"{scratch}/", "")
        raise UserError(text) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_replaceable(dataset: Path) -> None:
    if dataset.is_dir() and any(dataset.iterdir()) and not (dataset / MARKER).exists():
        raise UserError(f"{dataset}: holds something else than a dataset; move it away or choose another --dataset")
    if dataset.exists() and not dataset.is_dir():
        raise UserError(f"{dataset}: is a file; move it away or choose another --dataset")


def _ids(root: Path, split: str) -> list[str]:
    """Return the ids of a split, the second of a duplicate left out."""
    ids = list(dict.fromkeys(image_id for _, image_id in read_split_lines(root, split)))
    for image_id in ids:
        path = PurePosixPath(image_id.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise UserError(f"{root}/{SETS}/{split}.txt: id {image_id} leads outside the dataset; correct the line")
    return ids


def _owners(roots: Sequence[Path], splits: Sequence[dict[str, list[str]]]) -> dict[str, Path]:
    """Return the root that each image id comes from."""
    owners: dict[str, Path] = {}
    for root, lists in zip(roots, splits, strict=True):
        for image_id in dict.fromkeys(image_id for ids in lists.values() for image_id in ids):
            if image_id in owners:
                raise UserError(f"{root}: picture {image_id} is also in {owners[image_id]}; rename one of them")
            owners[image_id] = root
    return owners


def _link_all(image_id: str, root: Path, pictures: list[Path], dataset: Path) -> None:
    annotation = root / "Annotations" / f"{image_id}.xml"
    for path in (*pictures, annotation):
        if path.exists():
            _link(path, dataset / path.relative_to(root))


def _link(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are refused (another file system, another owner)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _own_classes(roots: Sequence[Path]) -> list[str]:
    """Return the classes.txt of a single source, nothing where it has none."""
    return read_classes(roots[0]) if len(roots) == 1 and (roots[0] / "classes.txt").exists() else []


def _default_classes(dataset: Path, image_ids: list[str], voc: bool) -> list[str]:
    if not any((dataset / "Annotations" / f"{image_id}.xml").exists() for image_id in image_ids):
        missing = f"{dataset}/Annotations/{image_ids[0]}.xml"
        raise UserError(f"{missing}: no such file, nor one of any other id; ids in {SETS} have no extension")
    names = class_names_found(dataset, image_ids)
    if voc and set(names) <= set(VOC_CLASSES):
        return VOC_CLASSES
    if not names:
        raise UserError(f"{dataset}/Annotations: no object in any annotation; name the classes in download.classes")
    return names
