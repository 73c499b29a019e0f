"""Read the YAML of a parameter file, and say in words what is wrong with it."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from frcnn.backbones import BACKBONES
from frcnn.errors import UserError

if TYPE_CHECKING:
    from frcnn.params import Model, Params

WORDS = {
    "float": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "dict": "a mapping",
    "tuple": "a non-empty list", "too": "a non-empty list", "model": "a mapping of parameters",
    "finite": "a finite number",
}  # fmt: skip
BOUNDS = {"ge": "at least {}", "gt": "greater than {}", "le": "at most {}"}


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        UserError: no such file, or not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "name a parameter file or a preset (default, demo, reference) with --params"
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise UserError(f"{path}:{line} not valid YAML: {getattr(error, 'problem', error)}") from error


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a question whether one of the known names was meant, or nothing."""
    own = [other for other in known if other.partition(".")[0] == name.partition(".")[0]]
    # A key that moved to another section keeps the end of its name.
    same_end = [other for other in (*own, *known) if other.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same_end[:1] if same_end and same_end[0] in own else difflib.get_close_matches(name, own, 1)
    close = close or difflib.get_close_matches(name, known, 1) or same_end
    return f"; did you mean {close[0]}?" if close else ""


def describe(error: Any, known: Sequence[str]) -> str:
    """Return in words what is wrong with a key.

    Args:
        error: of the list that pydantic's ValidationError has.
        known: the dotted names of all keys.
    """
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown parameter {name}{nearest(name, known)}"
    if kind == "missing":
        return f"parameter {name} is missing; add it"
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"{name} is {value!r}; choose from {choices}"
    allowed = next((words.format(f"{context[key]:g}") for key, words in BOUNDS.items() if key in context), None)
    allowed = allowed or WORDS.get(kind.partition("_")[0], error["msg"])
    return f"{name or 'the file'} is {value!r}; it must be {allowed}"


def contradictions(params: "Params") -> Iterator[str]:
    """Yield what is wrong with values that are each allowed."""
    if params.data.max_size is not None and params.data.max_size < params.data.min_size:
        yield f"data.max_size {params.data.max_size} is less than data.min_size"
    if params.anchors.rpn_negative_iou > params.anchors.rpn_positive_iou:
        yield "anchors.rpn_negative_iou is greater than anchors.rpn_positive_iou"
    if params.train.roi.background_min_iou > params.train.roi.positive_iou:
        yield "train.roi.background_min_iou is greater than train.roi.positive_iou"
    if params.train.validation.keep == "best" and params.train.validation.fraction == 0:
        yield "train.validation.keep: best needs train.validation.fraction above 0"
    yield from _contradictions_of_model(params.model)


def _contradictions_of_model(model: "Model") -> Iterator[str]:
    """Yield what the backbone that was chosen would ignore or cannot do."""
    backbone = BACKBONES[model.backbone]
    vgg = backbone.family == "vgg"
    if vgg and (model.roi_pool.size != 7 or model.width != 64):
        yield f"{model.backbone} has model.roi_pool.size: 7 and model.width: 64, fixed by its layers"
    if not vgg and model.dropout:
        yield f"model.dropout is for VGG's fully connected layers; {model.backbone} has none: set 0"
    if model.freeze_at > backbone.stages:
        yield f"model.freeze_at is {model.freeze_at}; {model.backbone} has {backbone.stages} stages to freeze"
    if model.weights == "none" and (model.freeze_at or (model.norm == "frozen" and not vgg)):
        yield "to train from scratch (model.weights: none) set model.norm: trained and model.freeze_at: 0"
