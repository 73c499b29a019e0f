"""Tell in which foreign layout a folder is, by its content."""

from pathlib import Path

from frcnn.errors import UserError
from frcnn.messages import first_few
from frcnn.sources.coco_instances import instance_files, read_instances
from frcnn.sources.found import Files, Found
from frcnn.sources.loose_voc import annotation_files, read_annotations
from frcnn.sources.yolo_text import name_files, read_labels

READERS = {
    "coco": (instance_files, read_instances),
    "yolo": (name_files, read_labels),
    "voc": (annotation_files, read_annotations),
}
WANTED = "VOC's XML beside pictures, COCO's instances in JSON, or YOLO's data.yaml"


def find_foreign(folder: Path, layout: str) -> Found:
    """Read a dataset that is not in VOC layout with lists.

    Args:
        folder: where it is.
        layout: voc, coco, yolo, or auto: the only one that is there.

    Raises:
        UserError: it is in none of these layouts or in several, or cannot be read.
    """
    files = Files(folder)
    named = {name: paths for name, (find, _) in READERS.items() if layout in ("auto", name) and (paths := find(files))}
    if not named:
        what = "no annotation of its pictures" if files.pictures else "no picture"
        wanted = "" if layout == "auto" else f" for download.format: {layout}"
        raise UserError(f"{folder}: no dataset{wanted}: {what}; it needs pictures and {WANTED}")
    if len(named) > 1:
        each = [f"{name} ({paths[0]})" for name, paths in named.items()]
        raise UserError(f"{folder}: holds {first_few(each, separator=' and ')}; set download.format to one of them")
    (name, paths), *_ = named.items()
    return READERS[name][1](files, paths)
