"""Write a dataset for other tools: COCO's instances, or YOLO's labels with data.yaml."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frcnn.boxes import area
from frcnn.data.voc.annotation import Annotation
from frcnn.data.voc.dataset import VocDataset
from frcnn.files import write_text
from frcnn.params import Params
from frcnn.sources.layout import link_or_copy

Splits = dict[str, list[str]]


def export_dataset(dataset: VocDataset, folder: Path, layout: str, params: Params) -> dict[str, int]:
    """Write pictures (links where possible), objects and splits.

    Args:
        dataset: what is written; boxes are clipped to their pictures, those without extent left out.
        folder: where to write; created.
        layout: coco or yolo.
        params: how boxes are read, and the names of the lists to train and to test on.

    Returns:
        What could not be written as it is -> how often.

    Raises:
        UserError: the first problem that training, too, would refuse.
    """
    dataset.require_splits()
    splits = {split: dataset.split(split) for split in dataset.split_names}
    convention = params.data.box_convention
    convention = "voc" if convention == "reference" else convention  # the same numbers, as continuous pixels
    annotations = {each.image_id: each for split in splits for each in dataset.annotations(split, convention)}
    for each in annotations.values():
        link_or_copy(each.path, folder / "images" / _file_name(each))
    write: Callable[..., dict[str, int]] = {"coco": _write_coco, "yolo": _write_yolo}[layout]
    return write(folder, annotations, splits, dataset.class_names, params)


def _file_name(annotation: Annotation) -> str:
    return annotation.image_id + annotation.path.suffix


def _write_coco(
    folder: Path, annotations: dict[str, Annotation], splits: Splits, names: list[str], _: Params
) -> dict[str, int]:
    """Write annotations/instances_SPLIT.json; difficult objects become crowds, which most tools ignore.

    A picture's id is the number that its name is where all are numbers, so that results come back by it.
    """
    entries: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    count = 0
    own = {int(image_id) for image_id in annotations if image_id.isascii() and image_id.isdecimal()}
    numbers = map(int, annotations) if len(own) == len(annotations) else range(1, len(annotations) + 1)
    for number, (image_id, each) in zip(numbers, annotations.items(), strict=True):
        boxes = each.boxes.astype("float64")  # holds the differences of float32 exactly
        rows = zip(boxes.tolist(), area(boxes).tolist(), each.labels.tolist(), each.difficult.tolist(), strict=True)
        objects = [
            {"id": id_, "image_id": number, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": size,
             "iscrowd": int(difficult), "segmentation": []}
            for id_, ((x1, y1, x2, y2), size, label, difficult) in enumerate(rows, count + 1)
        ]  # fmt: skip
        count += len(objects)
        image = {"id": number, "file_name": _file_name(each), "width": each.width, "height": each.height}
        entries[image_id] = image, objects
    categories = [{"id": label, "name": name, "supercategory": ""} for label, name in enumerate(names, 1)]
    for split, image_ids in splits.items():
        chosen = [entries[image_id] for image_id in image_ids]
        tree = {
            "info": {"description": f"{split}, written by frcnn"},
            "licenses": [],
            "images": [image for image, _ in chosen],
            "annotations": [each for _, objects in chosen for each in objects],
            "categories": categories,
        }
        text = json.dumps(tree, ensure_ascii=False, allow_nan=False)
        write_text(folder / "annotations" / f"instances_{split}.json", f"{text}\n")
    return {"difficult objects, written as crowds": sum(int(each.difficult.sum()) for each in annotations.values())}


def _write_yolo(
    folder: Path, annotations: dict[str, Annotation], splits: Splits, names: list[str], params: Params
) -> dict[str, int]:
    """Write labels/ID.txt, SPLIT.txt and data.yaml; YOLO has no flag for difficult objects, so they are left out."""
    for image_id, each in annotations.items():
        lines = []
        for (x1, y1, x2, y2), label, difficult in zip(each.boxes.tolist(), each.labels, each.difficult, strict=True):
            center = (x1 + x2) / 2 / each.width, (y1 + y2) / 2 / each.height
            values = *center, (x2 - x1) / each.width, (y2 - y1) / each.height
            lines += [] if difficult else [" ".join([str(label - 1), *map(repr, values)])]
        write_text(folder / "labels" / f"{image_id}.txt", "".join(f"{line}\n" for line in lines))
    for split, image_ids in splits.items():
        paths = [f"./images/{_file_name(annotations[image_id])}\n" for image_id in image_ids]
        write_text(folder / f"{split}.txt", "".join(paths))
    parts = {"train", "val"} <= set(splits)
    keys = {"train": "train" if parts else params.splits.train, "val": "val" if parts else params.splits.test}
    if parts:
        keys["test"] = params.splits.test
    lines = [f"{key}: {json.dumps(f'{split}.txt')}" for key, split in keys.items() if split in splits]
    lines += ["names:", *(f"  {index}: {json.dumps(name)}" for index, name in enumerate(names))]
    write_text(folder / "data.yaml", "\n".join([*lines, ""]))
    return {"difficult objects, left out": sum(int(each.difficult.sum()) for each in annotations.values())}
