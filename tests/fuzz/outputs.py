"""Tell whether what a command wrote from a damaged file is right, or at least whole."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from frcnn.anchors.targets import read_targets
from frcnn.data.voc.dataset import VocDataset
from frcnn.detections.hdf5 import read_detections
from frcnn.detector.tensor_file import read_tensors
from tests.crash.forked import Ended, tree
from tests.fuzz.formats import DATASET, Format

CHECKPOINT_SAYS = "starting over"


def wrong_output(each: Format, arguments: list[str], folder: Path, ended: Ended, before: Mapping[str, str]) -> str:
    """Return what is wrong after a command accepted a damaged file, nothing if all is well."""
    if each.name == "checkpoint":
        name = "data/models/phase1.safetensors"
        if tree(folder).get(name) != before[name]:
            return "other weights than of an undisturbed run"
        return "" if CHECKPOINT_SAYS in ended.out else "went on from a changed checkpoint without a word"
    if each.sealed and arguments[0] == "download":
        expected = {name.removeprefix(DATASET): digest for name, digest in before.items() if name.startswith(DATASET)}
        found = {f"/{name}": digest for name, digest in tree(folder / "installed").items()}
        return "" if found == expected else "another dataset"
    if each.sealed:
        return "accepted, although its bytes were changed"
    try:
        WRITTEN[arguments[0]](folder)
    except Exception as error:
        return f"what it wrote cannot be read: {type(error).__name__}: {error}"
    return ""


def _finite(value: Any) -> None:
    """Require that all numbers of a JSON are finite."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(item)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} in a JSON")


def _anchors(folder: Path) -> None:
    targets = read_targets(folder / "data" / "anchors.h5")
    for index in range(len(targets)):
        labels, _ = targets.image(index, mirror=True)
        assert all(map(math.isfinite, labels.gt_boxes.ravel())), "a box that is not finite"


def _dataset(folder: Path) -> None:
    voc = VocDataset(folder / "installed")
    assert voc.class_names and all(voc.split_lines(split) is not None for split in voc.split_names)


def _predictions(folder: Path) -> None:
    for entry in json.loads((folder / "predictions" / "detections.json").read_text()):
        _finite(entry)
        assert entry["width"] > 0 and entry["height"] > 0
    for path in (folder / "predictions").glob("*.png"):
        Image.open(path).load()


def _renders(folder: Path) -> None:
    for path in (folder / "data" / "renders").glob("*.png"):
        Image.open(path).load()


def _complete(page: Path) -> None:
    assert page.read_text().rstrip().endswith("</html>")


def _imported(folder: Path) -> None:
    header, tensors = read_tensors(folder / "imported.safetensors", 0)
    assert header["schema"]
    assert all(array.dtype == "float32" for array in tensors.values())


WRITTEN = {
    "anchors": _anchors,
    "check": lambda folder: None,
    "detect": lambda folder: read_detections(folder / "data" / "detections.h5"),
    "download": _dataset,
    "evaluate": lambda folder: _finite(json.loads((folder / "metrics" / "summary.json").read_text())),
    "import-weights": _imported,
    "predict": _predictions,
    "render": _renders,
    "report": lambda folder: _complete(folder / "data" / "report" / "index.html"),
}
