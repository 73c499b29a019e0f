"""params.yaml as frozen dataclasses: every key known, typed and in range, or one line that names it."""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml

from frcnn.errors import UserError

# Annotated[type, (low, high)]: inclusive bounds, None for open.
Fraction = Annotated[float, (0, 1)]
NonNegative = Annotated[float, (0, None)]
Count = Annotated[int, (0, None)]
Seed = Annotated[int, (0, 2**32 - 1)]
Positive = Annotated[int, (1, None)]
Size = Annotated[float, (1e-6, None)]
Framework = Literal["torch", "tensorflow"]
FRAMEWORKS = typing.get_args(Framework)


@dataclass(frozen=True)
class Synthetic:
    seed: Seed
    train_images: Positive
    val_images: Positive
    test_images: Positive


@dataclass(frozen=True)
class Download:
    source: str
    classes: list[str] | None
    mirror: str | None
    sha256: dict[str, str]
    synthetic: Synthetic


@dataclass(frozen=True)
class Splits:
    train: str
    test: str


@dataclass(frozen=True)
class Data:
    min_size: Positive
    max_size: Positive | None
    rounding: Literal["nearest", "down"]
    interpolation: Literal["bilinear", "bicubic"]
    box_convention: Literal["voc", "continuous", "reference"]
    train_difficult: bool


@dataclass(frozen=True)
class Anchors:
    anchor_sizes: list[Size]
    anchor_ratios: list[Size]
    anchor_offset: Fraction
    rpn_positive_iou: Fraction
    rpn_negative_iou: Fraction
    rpn_straddle_thresh: NonNegative | None
    rpn_tie_tolerance: NonNegative


@dataclass(frozen=True)
class Model:
    backbone: Literal["vgg16", "vgg16-torch", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    width: Annotated[int, (16, None)]  # with 8, torch 2.15 can crash on a CPU with AVX-512
    weights: str
    weights_sha256: str | None
    norm: Literal["frozen", "trained"]
    freeze_at: Annotated[int, (0, 5)]
    dropout: Annotated[float, (0, 0.99)]
    roi_op: Literal["align", "pool", "crop"]
    roi_size: Positive
    roi_sampling_ratio: Positive
    roi_clip: bool
    head_pool: Literal["avg", "max"]
    delta_clamp: bool
    proposal_min_size: NonNegative
    rpn_nms_threshold: Fraction
    exclude_edge_proposals: bool


@dataclass(frozen=True)
class Train:
    framework: Framework
    seed: Seed
    batch_size: Positive
    grad_accum: Positive
    base_batch_size: Positive | None
    precision: Literal["float32", "bf16", "auto"]
    deterministic: bool
    flip_probability: Fraction
    optimizer: Literal["sgd", "adam", "adamw"]
    momentum: Fraction
    weight_decay: NonNegative
    bias_lr_mult: NonNegative
    bias_weight_decay: NonNegative
    clip_gradients: Literal["variable", "global_norm", "value"] | None
    clip_at: Size
    pre_nms_topk: Positive
    post_nms_topk: Positive
    rpn_batch: Positive
    rpn_pos_fraction: Fraction
    rpn_sigma: Size
    roi_batch: Positive
    roi_pos_fraction: Fraction
    roi_positive_iou: Fraction
    roi_bg_lo: Fraction
    roi_sigma: Size
    val_fraction: Annotated[float, (0, 0.9)]
    val_every: Positive
    keep: Literal["last", "best"]


@dataclass(frozen=True)
class Phase:
    epochs: Positive
    learning_rate: Size
    warmup_steps: Count


@dataclass(frozen=True)
class Detect:
    """Settings of detection; the defaults are the paper's, which `predict` and validation use."""

    framework: Framework = "torch"
    batch_size: Positive = 1
    precision: Literal["float32", "bf16", "auto"] = "float32"
    pre_nms_topk: Positive = 6000
    post_nms_topk: Positive = 300
    score_threshold: Fraction = 0.05
    nms_threshold: Fraction = 0.3
    max_detections: Positive | None = 100


@dataclass(frozen=True)
class Evaluate:
    iou_threshold: Fraction
    coco: bool


@dataclass(frozen=True)
class Render:
    images: Positive
    seed: Seed
    score_threshold: Fraction


@dataclass(frozen=True)
class Params:
    """All of params.yaml; a section is a stage's, or named in the stages of dvc.yaml that share it."""

    download: Download
    splits: Splits
    data: Data
    anchors: Anchors
    model: Model
    train: Train
    train_phase1: Phase
    train_phase2: Phase
    detect: Detect
    evaluate: Evaluate
    render: Render

    def phase(self, number: int) -> Phase:
        """Return the section of training phase 1 or 2."""
        return {1: self.train_phase1, 2: self.train_phase2}[number]


def load_params(path: Path, overrides: typing.Sequence[str] = ()) -> Params:
    """Read a parameter file.

    Args:
        path: YAML file with every key of `Params`.
        overrides: `section.key=value` texts that replace values of the file; the value is YAML.

    Raises:
        UserError: no such file, not YAML, a key that is unknown, missing, of a wrong type or out of range.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a parameter file with --params") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise UserError(f"{path}:{line} not valid YAML: {getattr(error, 'problem', error)}") from error
    for text in overrides:
        _override(tree, text)
    params = from_dict(Params, tree, str(path))
    _check_relations(params, str(path))
    return params


def from_dict(cls: type, tree: Any, where: str, prefix: str = "") -> Any:
    """Build dataclass `cls` from nested dictionaries, checking names, types and bounds.

    Raises:
        UserError: naming `where` (a file) and the dotted key.
    """
    if not isinstance(tree, dict):
        raise UserError(f"{where}: {prefix.rstrip('.') or 'the file'} must be a mapping of parameters")
    hints = typing.get_type_hints(cls, include_extras=True)
    for key in tree:
        if key not in hints:
            near = _nearest(str(key), list(hints))
            raise UserError(f"{where}: unknown parameter {prefix}{key}{near}")
    values = {}
    for field in dataclasses.fields(cls):
        name = prefix + field.name
        if field.name not in tree:
            raise UserError(f"{where}: parameter {name} is missing; add it")
        values[field.name] = _convert(hints[field.name], tree[field.name], where, name)
    return cls(**values)


def to_dict(params: Any) -> dict[str, Any]:
    """Return a dataclass as nested plain dictionaries, the inverse of `from_dict`."""
    return dataclasses.asdict(params)


def _override(tree: Any, text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise UserError(f"--set {text}: write section.key=value")
    for name in names[:-1]:
        tree = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(tree, dict) or names[-1] not in tree:
        raise UserError(f"--set {text}: no parameter {key}")
    try:
        tree[names[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: {value!r} is not valid YAML") from error


def _check_relations(params: Params, where: str) -> None:
    if params.data.max_size is not None and params.data.max_size < params.data.min_size:
        raise UserError(f"{where}: data.max_size {params.data.max_size} is less than data.min_size")
    if params.anchors.rpn_negative_iou > params.anchors.rpn_positive_iou:
        raise UserError(f"{where}: anchors.rpn_negative_iou is greater than anchors.rpn_positive_iou")
    if params.train.roi_bg_lo > params.train.roi_positive_iou:
        raise UserError(f"{where}: train.roi_bg_lo is greater than train.roi_positive_iou")
    if params.train.keep == "best" and params.train.val_fraction == 0:
        raise UserError(f"{where}: train.keep: best needs train.val_fraction above 0")
    _check_model(params.model, where)


def _check_model(model: Model, where: str) -> None:
    """Refuse what the chosen backbone would ignore or cannot do."""
    vgg = model.backbone.startswith("vgg")
    if vgg and (model.roi_size != 7 or model.width != 64):
        raise UserError(f"{where}: {model.backbone} has model.roi_size: 7 and model.width: 64, fixed by its layers")
    if not vgg and model.dropout:
        raise UserError(f"{where}: model.dropout is for VGG's fully connected layers; {model.backbone} has none: set 0")
    if not vgg and model.freeze_at > 4:
        raise UserError(f"{where}: model.freeze_at is {model.freeze_at}; {model.backbone} has 4 stages to freeze")
    if model.weights == "none" and (model.freeze_at or (model.norm == "frozen" and not vgg)):
        raise UserError(f"{where}: to train from scratch (model.weights: none) set model.norm: trained, freeze_at: 0")


def _nearest(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _convert(hint: Any, value: Any, where: str, name: str) -> Any:
    """Return `value` as the type that `hint` names, or raise UserError."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where, name + ".")
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        [inner] = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return _convert(inner, value, where, name)
    if origin is Annotated:
        inner, (low, high) = typing.get_args(hint)
        number = _convert(inner, value, where, name)
        fits = math.isfinite(number) and (low is None or number >= low) and (high is None or number <= high)
        if not fits:
            raise UserError(f"{where}: {name} is {value}; it must be {_range_words(low, high)}")
        return number
    if origin is Literal:
        if value not in typing.get_args(hint):
            raise UserError(f"{where}: {name} is {value!r}; choose from {', '.join(typing.get_args(hint))}")
        return value
    if origin is list and isinstance(value, list) and value:
        return [_convert(typing.get_args(hint)[0], item, where, f"{name}[{i}]") for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(key): _convert(str, item, where, f"{name}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)  # PyYAML reads 1e-3, without a dot, as text
        except (ValueError, OverflowError):
            pass
    if isinstance(hint, type) and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise UserError(f"{where}: {name} is {value!r}; it must be {_type_words(hint)}")


def _range_words(low: float | None, high: float | None) -> str:
    if high is None:
        return "greater than 0" if low == 1e-6 else f"at least {low}"
    return f"from {low} to {high}"


def _type_words(hint: Any) -> str:
    words = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    origin = typing.get_origin(hint)
    return words.get(hint, "a non-empty list" if origin is list else "a mapping" if origin is dict else str(hint))
