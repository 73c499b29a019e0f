"""params.yaml as frozen models: every key known, typed and in range, with the default of the paper.

A parameter file may leave keys out; they take the defaults. `params.yaml` in the root holds all of them, a preset (a
file of `frcnn/presets/`) only what differs.
"""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from frcnn.backbones import BACKBONES
from frcnn.errors import UserError

PRESETS = Path(__file__).parent / "presets"


def _number(value: Any) -> Any:
    """Return text as a number where it is one: PyYAML reads 1e-3, without a dot, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Float = Annotated[float, BeforeValidator(_number)]
Fraction = Annotated[Float, Field(ge=0, le=1)]
NonNegative = Annotated[Float, Field(ge=0)]
Positive = Annotated[Float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Numbers = Annotated[tuple[Positive, ...], Strict(False), Field(min_length=1)]
Names = Annotated[tuple[str, ...], Strict(False), Field(min_length=1)]
Framework = Literal["torch", "tensorflow"]
Precision = Literal["float32", "bf16", "auto"]
if TYPE_CHECKING:
    BackboneName = str
else:
    BackboneName = Literal[tuple(BACKBONES)]
FRAMEWORKS = get_args(Framework)


class Section(BaseModel):
    """A mapping of parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Synthetic(Section):
    """The drawn dataset."""

    seed: Seed = 1
    train_images: AtLeastOne = 800
    val_images: AtLeastOne = 200
    test_images: AtLeastOne = 300


class Download(Section):
    """Where the dataset comes from."""

    source: str = "voc2007"
    classes: Names | None = None
    mirror: str | None = None
    sha256: dict[str, str] = {}
    synthetic: Synthetic = Synthetic()


class Splits(Section):
    """The lists of images to train on and to test on."""

    train: str = "trainval"
    test: str = "test"


class Data(Section):
    """How pictures are resized and annotations read."""

    min_size: AtLeastOne = 600
    max_size: AtLeastOne | None = 1000
    rounding: Literal["nearest", "down"] = "nearest"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    box_convention: Literal["voc", "continuous", "reference"] = "voc"
    train_difficult: bool = False


class Anchors(Section):
    """Shapes of the anchors, and which of them count as objects."""

    anchor_sizes: Numbers = (128.0, 256.0, 512.0)
    anchor_ratios: Numbers = (0.5, 1.0, 2.0)
    anchor_offset: Fraction = 0.5
    rpn_positive_iou: Fraction = 0.7
    rpn_negative_iou: Fraction = 0.3
    rpn_straddle_thresh: NonNegative | None = 0.0
    rpn_tie_tolerance: NonNegative = 0.0

    @property
    def per_cell(self) -> int:
        """Anchors of each cell of the feature map."""
        return len(self.anchor_sizes) * len(self.anchor_ratios)


class Proposals(Section):
    """What becomes a proposal, in training and detection."""

    min_size: NonNegative = 16.0
    nms_threshold: Fraction = 0.7
    exclude_edge: bool = False


class RoIPool(Section):
    """How the features of an RoI are pooled."""

    op: Literal["align", "pool", "crop"] = "align"
    size: AtLeastOne = 7
    sampling_ratio: AtLeastOne = 2
    clip: bool = True


class Model(Section):
    """The network."""

    backbone: BackboneName = "vgg16"
    width: Annotated[int, Field(ge=16)] = 64  # with 8, torch 2.15 can crash on a CPU with AVX-512
    weights: str = "caffe"
    weights_sha256: str | None = None
    norm: Literal["frozen", "trained"] = "frozen"
    freeze_at: Annotated[int, Field(ge=0, le=5)] = 2
    dropout: Annotated[Float, Field(ge=0, le=0.99)] = 0.0
    head_pool: Literal["avg", "max"] = "avg"
    delta_clamp: bool = True
    proposals: Proposals = Proposals()
    roi_pool: RoIPool = RoIPool()


class Optimizer(Section):
    """The optimizer of both phases."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: Fraction = 0.9
    weight_decay: NonNegative = 0.0005
    bias_lr_mult: NonNegative = 1.0
    bias_weight_decay: NonNegative = 0.0
    clip_gradients: Literal["variable", "global_norm", "value"] | None = None
    clip_at: Positive = 1.0


class RPNTraining(Section):
    """Proposals in training, and the minibatch of anchors of an image."""

    pre_nms_topk: AtLeastOne = 12000
    post_nms_topk: AtLeastOne = 2000
    batch_size: AtLeastOne = 256
    positive_fraction: Fraction = 0.5
    sigma: Positive = 3.0


class RoITraining(Section):
    """The minibatch of RoIs of an image."""

    batch_size: AtLeastOne = 128
    positive_fraction: Fraction = 0.25
    positive_iou: Fraction = 0.5
    background_min_iou: Fraction = 0.0
    sigma: Positive = 1.0


class Postprocessing(Section):
    """From the network's output to detections; the defaults are the paper's."""

    pre_nms_topk: AtLeastOne = 6000
    post_nms_topk: AtLeastOne = 300
    score_threshold: Fraction = 0.05
    nms_threshold: Fraction = 0.3
    max_detections: AtLeastOne | None = 100


class Validation(Postprocessing):
    """Validation on a part of the training split, with its own postprocessing."""

    fraction: Annotated[Float, Field(ge=0, le=0.9)] = 0.0
    every: AtLeastOne = 1
    keep: Literal["last", "best"] = "last"


class Train(Section):
    """What both phases of training share."""

    framework: Framework = "torch"
    seed: Seed = 1
    batch_size: AtLeastOne = 1
    grad_accum: AtLeastOne = 1
    base_batch_size: AtLeastOne | None = None
    precision: Precision = "float32"
    deterministic: bool = False
    flip_probability: Fraction = 0.5
    optimizer: Optimizer = Optimizer()
    rpn: RPNTraining = RPNTraining()
    roi: RoITraining = RoITraining()
    validation: Validation = Validation()


class Phase(Section):
    """What is particular to one of the two phases."""

    epochs: AtLeastOne
    learning_rate: Positive
    warmup_steps: Count = 0


class Phase1(Phase):
    """The first phase."""

    epochs: AtLeastOne = 10
    learning_rate: Positive = 0.001


class Phase2(Phase):
    """The second phase, which starts from the weights of the first."""

    epochs: AtLeastOne = 4
    learning_rate: Positive = 0.0001


class Detect(Postprocessing):
    """Detection on the test split and in `predict`."""

    framework: Framework = "torch"
    batch_size: AtLeastOne = 1
    precision: Precision = "float32"


class Evaluate(Section):
    """How detections are judged."""

    iou_threshold: Fraction = 0.5
    coco: bool = False


class Render(Section):
    """Which pictures are drawn, with which detections."""

    images: AtLeastOne = 8
    seed: Seed = 1
    score_threshold: Fraction = 0.5


class Params(Section):
    """All of params.yaml; a section is a stage's, or named in the stages of dvc.yaml that share it."""

    download: Download = Download()
    splits: Splits = Splits()
    data: Data = Data()
    anchors: Anchors = Anchors()
    model: Model = Model()
    train: Train = Train()
    train_phase1: Phase1 = Phase1()
    train_phase2: Phase2 = Phase2()
    detect: Detect = Detect()
    evaluate: Evaluate = Evaluate()
    render: Render = Render()

    def phase(self, number: int) -> Phase:
        """Return the section of training phase 1 or 2."""
        return self.train_phase1 if number == 1 else self.train_phase2


AnySection = TypeVar("AnySection", bound=Section)


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read a parameter file.

    Args:
        path: YAML file, or the name of a preset: demo, reference.
        overrides: `section.key=value` texts that replace values of the file; the value is YAML.

    Raises:
        UserError: no such file, not YAML, or keys that are unknown, of a wrong type or out of range: a line for each.
    """
    preset = PRESETS / f"{path}.yaml"
    tree = _read_yaml(preset if preset.is_file() and not Path(path).exists() else Path(path))
    for text in overrides:
        _override(tree, text)
    params = from_dict(Params, tree, str(path))
    if problems := [f"{path}: {problem}" for problem in _contradictions(params)]:
        raise UserError(*problems)
    return params


def from_dict(cls: type[AnySection], tree: Any, where: str) -> AnySection:
    """Build a section from nested dictionaries; absent keys take their defaults.

    Raises:
        UserError: a line for every wrong key, with `where` (a file) and the dotted key.
    """
    try:
        return cls.model_validate(tree)
    except ValidationError as error:
        raise UserError(*(f"{where}: {_describe(cls, each)}" for each in error.errors())) from error


def to_dict(section: Section) -> dict[str, Any]:
    """Return a section as nested plain dictionaries and lists, the inverse of `from_dict`."""
    return section.model_dump(mode="json")


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a parameter file, or demo or reference, with --params") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise UserError(f"{path}:{line} not valid YAML: {getattr(error, 'problem', error)}") from error


def _override(tree: Any, text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise UserError(f"--set {text}: write section.key=value")
    if key not in (known := list(_dotted_names(Params))) and not key.startswith("download.sha256."):
        raise UserError(f"--set {text}: no parameter {key}{_nearest(key, known)}")
    for name in names[:-1]:
        if not isinstance(tree, dict):
            return  # what is wrong with the file is said when it is checked
        tree = tree.setdefault(name, {})
    try:
        tree[names[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {text}: {value!r} is not valid YAML") from error


def _dotted_names(cls: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the names of all sections and keys."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _dotted_names(field.annotation, f"{prefix}{name}.")


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    # A key that moved to another section keeps the end of its name.
    close = close or [other for other in known if name.rpartition(".")[2] == other.rpartition(".")[2]]
    return f"; did you mean {close[0]}?" if close else ""


WORDS = {
    "float": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "dict": "a mapping",
    "tuple": "a non-empty list", "model": "a mapping of parameters", "finite": "a finite number", "too": "a non-empty list",
}  # fmt: skip


def _describe(cls: type[Section], error: Any) -> str:
    """Return in words what pydantic says is wrong with a key."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown parameter {name}{_nearest(name, list(_dotted_names(cls)))}"
    if kind == "missing":
        return f"parameter {name} is missing; add it"
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"{name} is {value!r}; choose from {choices}"
    bounds = {"ge": "at least {}", "gt": "greater than {}", "le": "at most {}"}
    allowed = next((words.format(f"{context[key]:g}") for key, words in bounds.items() if key in context), None)
    allowed = allowed or WORDS.get(kind.partition("_")[0], error["msg"])
    return f"{name or 'the file'} is {value if 'ge' in context or 'gt' in context else repr(value)}; it must be {allowed}"


def _contradictions(params: Params) -> Iterator[str]:
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


def _contradictions_of_model(model: Model) -> Iterator[str]:
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
