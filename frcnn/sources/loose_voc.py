"""Read VOC annotations that no list names: beside the pictures or in a folder of their own, in one or several folders.

LabelImg writes such folders, and Roboflow with one for each of train, valid and test.
"""

from collections import Counter
from pathlib import PurePosixPath

from frcnn.data.voc.annotation import parse_xml, read_class_name
from frcnn.data.voc.dataset import read_names
from frcnn.sources.found import Files, Found, Picture, split_of

FOLDERS = ("Annotations", "annotations", "labels")


def annotation_files(files: Files) -> list[PurePosixPath]:
    """Return the annotations that have a picture."""
    return sorted(set(_partners(files).values()))


def read_annotations(files: Files, _: list[PurePosixPath]) -> Found:
    """Read the class names of all annotations; the files stay as they are.

    A picture without an annotation shows no objects. A file that cannot be read stays, for `frcnn check` to report.
    """
    found, partners = Found("VOC", files.root), _partners(files)
    for picture in files.pictures:
        annotation = partners.get(picture)
        if annotation is None:
            found.notes["pictures without an annotation, taken to show no object"] += 1
            found.add(picture, Picture(frozenset(), "<annotation/>\n"), split_of(picture))
            continue
        root = parse_xml(files.root, files.root / annotation, [])
        names = {read_class_name(each) for each in root.iter("object")} if root is not None else set()
        found.add(picture, Picture(frozenset(names - {""}), files.root / annotation), split_of(picture))
    found.notes["annotations without a picture, left out"] += len(set(files.of(".xml")) - set(partners.values()))
    if (listed := files.root / "classes.txt").is_file():
        found.class_names = read_names(listed)
    return found


def _partners(files: Files) -> dict[PurePosixPath, PurePosixPath]:
    """Return the annotation of each picture that has one: the parallel one, or the only one of this name anywhere."""
    pictures, annotations = Counter(path.stem for path in files.pictures), files.of(".xml")
    stems = Counter(path.stem for path in annotations)
    single = {path.stem: path for path in annotations if stems[path.stem] == pictures[path.stem] == 1}
    found = {path: files.partner(path, ".xml", *FOLDERS) or single.get(path.stem) for path in files.pictures}
    return {picture: annotation for picture, annotation in found.items() if annotation}
