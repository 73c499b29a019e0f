"""Install a dataset of a foreign layout in VOC layout: pictures, annotations, splits, classes.txt."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from frcnn.data.lookalikes import Fingerprint, fingerprint, look_alike_groups
from frcnn.data.voc.dataset import SETS, read_names
from frcnn.data.voc.inside import bad_id, require_plain
from frcnn.data.voc.pictures import decode
from frcnn.errors import UserError
from frcnn.files import write_text
from frcnn.messages import cut_lines, first_few, shorten
from frcnn.params import Download, Splits
from frcnn.sources.found import Found
from frcnn.sources.layout import PARTS, Progress, copy, link_or_copy, missing_error
from frcnn.sources.stratify import draw_test, group_names, join_groups

Lists = Mapping[str, Sequence[PurePosixPath]]


def install_foreign(
    found: Found, folder: Path, download: Download, splits: Splits, on_progress: Progress | None = None
) -> list[str]:
    """Write pictures (links where possible), annotations, lists and classes.txt.

    Args:
        found: what a reader found.
        folder: where to write; created.
        download: names of the classes, and how to split what has no splits.
        splits: names of the lists to train and to test on.
        on_progress: called with (pictures done, pictures in all).

    Returns:
        What was dropped or guessed, a line each.

    Raises:
        UserError: a picture that is named is not there, unless download.missing is drop; names that no picture may
            have, no class, or too few pictures to split.
    """
    if found.missing and download.missing == "refuse":
        raise missing_error(found.root, "no picture", found.missing, "add them")
    found.notes["listed pictures that are not there, left out"] += len(found.missing)
    for part in (*PARTS, SETS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    lists, remarks = make_lists(found, download, splits, on_progress)
    wanted = list(dict.fromkeys(path for paths in lists.values() for path in paths))
    found.notes["pictures in no split, left out"] += len(found.pictures) - len(wanted)
    ids = image_ids(found)
    for done, path in enumerate(wanted, 1):
        _install(found, path, folder, ids[path])
        if on_progress:
            on_progress(done, len(wanted))
    for split, paths in lists.items():
        write_text(folder / SETS / f"{split}.txt", "".join(f"{ids[path]}\n" for path in paths))
    names = download.classes or found.class_names or sorted({n for path in wanted for n in found.pictures[path].names})
    if not names:
        raise UserError(f"{found.root}: no object in any annotation; name the classes in download.classes")
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))
    read_names(folder / "classes.txt")
    return [*remarks, *(f"{what}: {count}" for what, count in found.notes.items() if count)]


def make_lists(
    found: Found, download: Download, splits: Splits, on_progress: Progress | None = None
) -> tuple[Lists, list[str]]:
    """Return the lists to write, with paths of pictures, and what was decided.

    train, val and test stay as they are found. The list to train on is train and val without the pictures of test;
    where there is no test, val is it. Where either list would be empty, all pictures are split anew.
    """
    own: dict[str, list[PurePosixPath]] = {split: list(dict.fromkeys(paths)) for split, paths in found.splits.items()}
    inside = {path for paths in own.values() for path in paths}
    of_test = next((split for split in (splits.test, "test", "val") if split in own), "")
    test = dict.fromkeys(own.get(of_test, []))
    train = own.get("train") or [path for path in found.pictures if path not in inside]
    wanted = own.get(splits.train) or dict.fromkeys([*train, *own.get("val", [])])
    trainval = [path for path in wanted if path not in test]
    if not (trainval and test):
        return _draw_lists(found, download, splits, on_progress)
    origin = " and ".join(split for split in own if split != of_test) or "the others"
    remarks = [f"splits: {splits.train} = {origin}, {splits.test} = {of_test}"]
    if twice := sum(path in test for path in train):
        remarks.append(f"pictures of train that are in {of_test}, too, and not in {splits.train}: {twice}")
    return {**own, splits.train: trainval, splits.test: list(test)}, remarks


def _draw_lists(
    found: Found, download: Download, splits: Splits, on_progress: Progress | None
) -> tuple[Lists, list[str]]:
    share, seed = download.split.test, download.split.seed
    paths = list(found.pictures)
    if len(paths) < 2:
        raise UserError(f"{found.root}: {len(paths)} picture cannot be split; add pictures")
    shown = [found.pictures[path].names for path in paths]
    names, counters = group_names([path.stem for path in paths], list(frozenset[str]().union(*shown)), share)
    looks = _group_looks(found, on_progress)
    groups = join_groups(names, looks)
    if single := len(set(groups)) == 1:
        groups = names
    in_test = draw_test(groups, shown, share, seed)
    together, by_name, by_look = (sum(n > 1 for n in Counter(each).values()) for each in (groups, names, looks))
    remarks = [
        f"splits: none found; {sum(in_test)} of {len(paths)} pictures drawn for {splits.test} (download.split: test "
        f"{share:g}, seed {seed}), stratified by class",
    ]
    if together:
        remarks.append(f"groups of pictures kept on one side: {together} (by name {by_name}, by looks {by_look})")
    if single:
        remarks.append("all pictures look alike, one like the next, so looks do not count")
    if counters:
        remarks.append(
            "numbered names that do not count as frames of one video (too many, or a class's): "
            + first_few([name or "(only a number)" for name in counters])
        )
    sides = (splits.train, False), (splits.test, True)
    return {
        name: [path for path, drawn in zip(paths, in_test, strict=True) if drawn is side] for name, side in sides
    }, remarks


def _group_looks(found: Found, on_progress: Progress | None) -> list[int]:
    """Return a number for each picture, equal for those that look alike; an unreadable one looks like no other."""

    def read(path: PurePosixPath) -> Fingerprint | None:
        try:
            return fingerprint(decode(found.root / path)[0]) if (found.root / path).is_file() else None
        except UserError:  # reading the dataset reports it
            return None

    prints = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for each in pool.map(read, found.pictures):
            prints.append(each)
            if on_progress:
                on_progress(len(prints), len(found.pictures))
    looks, readable = list(range(len(prints))), [index for index, each in enumerate(prints) if each]
    for index, group in zip(readable, look_alike_groups([each for each in prints if each]).tolist(), strict=True):
        looks[index] = readable[group]
    return looks


def image_ids(found: Found) -> dict[PurePosixPath, str]:
    """Return the id of each picture: its name, or its path where several have one name.

    Raises:
        UserError: names that cannot stand in a list, a line each.
    """
    paths = list(found.pictures)
    choices = (
        [path.stem for path in paths],
        [path.with_suffix("").as_posix() for path in paths],
        [str(p) for p in paths],
    )
    names = next(each for each in choices if len(set(each)) == len(each))
    bad = [
        f"{found.root / path}: name {what}; rename the picture"
        for path, name in zip(paths, names, strict=True)
        if (what := f"{shorten(name)} begins or ends with a blank" if name != name.strip() else bad_id(name))
    ]
    if bad:
        raise UserError(*cut_lines(bad))
    return dict(zip(paths, names, strict=True))


def _install(found: Found, path: PurePosixPath, folder: Path, image_id: str) -> None:
    picture, target = found.pictures[path], folder / "Annotations" / f"{image_id}.xml"
    require_plain(found.root / path)
    link_or_copy(found.root / path, folder / "JPEGImages" / f"{image_id}{path.suffix}")
    if isinstance(picture.annotation, str):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(picture.annotation, encoding="utf-8", newline="\n")
    else:
        require_plain(picture.annotation)
        copy(picture.annotation, target)
