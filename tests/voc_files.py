"""Write small datasets in VOC layout, sound or broken, for the tests beside this file."""

from pathlib import Path

from PIL import Image


def voc_object(name: str = "cat", box: object = (11, 21, 40, 60), extra: str = "") -> str:
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    bndbox = "".join(f"<{corner}>{value}</{corner}>" for corner, value in corners)
    return f"<object><name>{name}</name>{extra}<bndbox>{bndbox}</bndbox></object>"


def write_voc(
    folder: Path, pictures: dict[str, str], classes: str | None = "cat\ndog\n", size: tuple[int, int] = (100, 80)
) -> Path:
    """Write a dataset with the split trainval; `pictures` maps ids to the XML of their objects."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for image_id, objects in pictures.items():
        xml = f"<annotation><filename>wrong.jpg</filename>{objects}</annotation>"
        (folder / "Annotations" / f"{image_id}.xml").write_text(xml)
        Image.new("RGB", size, "teal").save(folder / "JPEGImages" / f"{image_id}.jpg")
    write_list(folder, "".join(f"{image_id}\n" for image_id in pictures))
    if classes is not None:
        (folder / "classes.txt").write_text(classes)
    return folder


def write_list(folder: Path, text: str, split: str = "trainval") -> None:
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text, newline="")
