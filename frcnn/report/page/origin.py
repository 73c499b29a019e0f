"""What a detector was made from: data, parameters and weights, as far as files record it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.advice.figures import Figures, figures_of
from frcnn.data.voc.annotation import Annotation
from frcnn.detections.detections import SplitDetections
from frcnn.detector.weights_file import read_header
from frcnn.files import sha256_file
from frcnn.messages import shorten
from frcnn.params import PRESETS, Params, load_params, to_dict


@dataclass(frozen=True)
class SplitCounts:
    """A split: number of its images, and of objects of each class 1..C, difficult ones apart."""

    name: str
    images: int
    objects: list[int]
    difficult: list[int]


@dataclass(frozen=True)
class Origin:
    """What the page says about data, parameters and weights.

    Attributes:
        facts: names and values, in order.
        splits: the training split, if the dataset has it, and the one that was judged.
        sizes: of the training objects against the anchors; None without the training split.
        preset: the one that has most values in common with the parameters.
        changes: the keys that differ from it, their values, and those of the preset.
    """

    facts: list[tuple[str, str]]
    splits: list[SplitCounts]
    sizes: Figures | None
    preset: str
    changes: list[tuple[str, str, str]]


def origin_of(
    params: Params,
    detections: SplitDetections,
    judged: Sequence[Annotation],
    trained: Sequence[Annotation] | None,
    weights: Path,
) -> Origin:
    """Gather what is known.

    Args:
        params: of the project.
        detections: that are judged.
        judged: the annotations of their images.
        trained: the annotations of the training split, None if the dataset has none.
        weights: file that may have made the detections; it counts only if its digest is theirs.
    """
    names = detections.class_names
    splits = [_counts(detections.split or params.splits.test, judged, names)]
    if trained is not None and params.splits.train != splits[0].name:
        splits.insert(0, _counts(params.splits.train, trained, names))
    preset, changes = nearest_preset(params)
    sizes = figures_of(trained, names, params) if trained else None
    return Origin(_facts(detections, _header(weights, detections)), splits, sizes, preset, changes)


def nearest_preset(params: Params) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the preset that differs in the fewest parameters, the first of equals, and these parameters."""
    values = dict(_flat(to_dict(params)))
    best: tuple[str, list[tuple[str, str, str]]] | None = None
    for path in sorted(PRESETS.glob("*.yaml")):
        usual = dict(_flat(to_dict(load_params(path))))
        keys = [key for key in values | usual if values.get(key) != usual.get(key)]
        if best is None or len(keys) < len(best[1]):
            best = path.stem, [(key, shorten(values.get(key)), shorten(usual.get(key))) for key in keys]
    assert best
    return best


def _counts(name: str, annotations: Sequence[Annotation], class_names: Sequence[str]) -> SplitCounts:
    labels = np.concatenate([np.empty(0, np.int64), *(each.labels for each in annotations)])
    difficult = np.concatenate([np.empty(0, np.bool_), *(each.difficult for each in annotations)])
    easy, hard = (np.bincount(labels[kind], minlength=len(class_names) + 1)[1:] for kind in (~difficult, difficult))
    return SplitCounts(name, len(annotations), easy.tolist(), hard.tolist())


def _header(weights: Path, detections: SplitDetections) -> dict[str, Any]:
    """Return what the weights file says of itself, nothing if it did not make the detections."""
    made_by = detections.provenance.get("weights")
    if not made_by or not weights.is_file() or sha256_file(weights) != made_by:
        return {}
    return read_header(weights)


def _facts(detections: SplitDetections, header: Mapping[str, Any]) -> list[tuple[str, str]]:
    made, train = _part(header, "provenance"), _part(header, "provenance", "train")
    model, schedule = _part(header, "config", "model"), _part(header, "provenance", "schedule")
    optimizer, settings = _part(train, "optimizer"), _part(detections.provenance, "detect")
    facts = [
        ("Backbone", model.get("backbone")),
        ("Pretrained weights", model.get("weights")),
        ("Imported from", made.get("layout")),
        ("Optimizer", optimizer.get("name")),
        ("Images per batch", train.get("batch_size")),
        (f"Epochs of phase {made.get('phase')}", schedule.get("epochs")),
        (f"Learning rate of phase {made.get('phase')}", schedule.get("learning_rate")),
        ("Framework of training", train.get("framework")),
        ("Framework of detection", settings.get("framework")),
        ("Least score of detections", settings.get("score_threshold")),
        ("Trained with", header.get("library") and f"frcnn {header['library']}"),
        ("SHA-256 of the weights", detections.provenance.get("weights")),
        ("SHA-256 of the imported weights", made.get("sha256")),
        ("SHA-256 of the weights that the last phase started from", made.get("start")),
        ("SHA-256 of the training split", made.get("dataset")),
        ("SHA-256 of the judged split", detections.provenance.get("dataset")),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _part(tree: Any, *names: str) -> Mapping[str, Any]:
    """Return what lies in nested dictionaries, nothing if there is none: weights of other projects say little."""
    for name in names:
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, Mapping) else {}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return pairs
