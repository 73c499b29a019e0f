"""params.yaml as frozen models: every key known, typed and in range, with the default of the paper.

A file may leave keys out; they take the defaults. `params.yaml` holds all, a preset (frcnn/presets/) what differs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from frcnn.backbones import BACKBONES
from frcnn.errors import UserError
from frcnn.messages import shorten
from frcnn.param_file import contradictions, describe, list_per_map, nearest, number_of, parse_yaml, read_yaml

MOST_LINES = 30  # about what is wrong with a file
LARGEST = 2**31 - 1
PRESETS = Path(__file__).parent / "presets"

NUMBER = BeforeValidator(number_of)  # the last, so that the JSON schema states the bounds
Fraction = Annotated[float, Field(ge=0, le=1), NUMBER]
NonNegative = Annotated[float, Field(ge=0), NUMBER]
Positive = Annotated[float, Field(gt=0), NUMBER]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
AtLeastOne = Annotated[int, Field(ge=1, le=LARGEST)]
Drawn = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Numbers = Annotated[tuple[Positive, ...], Strict(False), Field(min_length=1)]
LISTS = BeforeValidator(list_per_map, json_schema_input_type=Numbers | tuple[Numbers, ...])
Sizes = Annotated[tuple[Numbers, ...], Strict(False), LISTS]
Names = Annotated[tuple[str, ...], Strict(False), Field(min_length=1)]
Framework = Literal["torch", "tensorflow"]
Precision = Literal["float32", "bf16", "auto"]
if TYPE_CHECKING:
    BackboneName = str
else:
    BackboneName = Literal[tuple(BACKBONES)]


class Section(BaseModel):
    """A mapping of parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Synthetic(Section):
    """The drawn dataset."""

    seed: Seed = 1
    train_images: Drawn = 800
    val_images: Drawn = 200
    test_images: Drawn = 300


class Split(Section):
    """How a source without lists or folders of splits is split."""

    test: Annotated[float, Field(gt=0, lt=1), NUMBER] = 0.2
    seed: Seed = 1


class Download(Section):
    """Where the dataset comes from."""

    source: str = "voc2007"
    format: Literal["auto", "voc", "coco", "yolo"] = "auto"
    missing: Literal["refuse", "drop"] = "refuse"
    split: Split = Split()
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
    antialias: bool = True
    size_divisor: AtLeastOne = 1
    box_convention: Literal["voc", "continuous", "reference"] = "voc"
    train_difficult: bool = False


class Anchors(Section):
    """Shapes of the anchors, and which of them count as objects."""

    anchor_sizes: Sizes = ((128.0, 256.0, 512.0),)
    anchor_ratios: Numbers = (0.5, 1.0, 2.0)
    anchor_offset: Fraction = 0.5
    rounded: bool = False
    strides: Literal["fixed", "from_map"] = "fixed"
    rpn_positive_iou: Fraction = 0.7
    rpn_negative_iou: Fraction = 0.3
    rpn_straddle_thresh: NonNegative | None = 0.0
    rpn_tie_tolerance: NonNegative = 0.0

    @property
    def per_cell(self) -> int:
        """Anchors of each cell of a feature map."""
        return len(self.anchor_sizes[0]) * len(self.anchor_ratios)

    def sizes_of(self, feature_map: int) -> tuple[float, ...]:
        """Return the sizes of one feature map; a single list is that of all."""
        return self.anchor_sizes[feature_map if len(self.anchor_sizes) > 1 else 0]


class Proposals(Section):
    """What becomes a proposal, in training and detection."""

    min_size: NonNegative = 16.0
    score_threshold: Fraction = 0.0
    nms_threshold: Fraction = 0.7
    exclude_edge: bool = False
    mask_padding: bool = True


class RoIPool(Section):
    """How the features of an RoI are pooled."""

    op: Literal["align", "pool", "crop"] = "align"
    size: AtLeastOne = 7
    sampling_ratio: Count = 2
    aligned: bool = True
    clip: bool = True


class Model(Section):
    """The network."""

    backbone: BackboneName = "vgg16"
    width: Annotated[int, Field(ge=16, le=1024)] = 64  # with 8, torch 2.15 can crash on a CPU with AVX-512
    weights: str = "caffe"
    weights_sha256: str | None = None
    norm: Literal["frozen", "trained"] = "frozen"
    freeze_at: Annotated[int, Field(ge=0, le=6)] = 2
    dropout: Annotated[float, Field(ge=0, le=0.99), NUMBER] = 0.0
    head_pool: Literal["avg", "max"] = "avg"
    delta_clamp: bool = True
    stride_in_1x1: bool = False
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
    count_empty: bool = False


class Validation(Postprocessing):
    """Validation on a part of the training split, with its own postprocessing."""

    fraction: Annotated[float, Field(ge=0, le=0.9), NUMBER] = 0.0
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
        path: YAML file, or the name of a preset: default, demo, finetune, reference.
        overrides: `section.key=value` texts that replace values of the file; the value is YAML.

    Raises:
        UserError: no such file, not YAML, or keys that are unknown, of a wrong type or out of range: a line for each.
    """
    preset = PRESETS / f"{path}.yaml"
    tree = read_yaml(preset if preset.is_file() and not Path(path).is_file() else Path(path))
    for text in overrides:
        _override(tree, text)
    params = from_dict(Params, tree, str(path))
    if problems := [f"{path}: {problem}" for problem in contradictions(params)]:
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
        known, errors = list(_dotted_names(cls)), error.errors()
        more = [f"{where}: and {len(errors) - MOST_LINES} more"] if len(errors) > MOST_LINES else []
        raise UserError(*(f"{where}: {describe(each, known)}" for each in errors[:MOST_LINES]), *more) from error


def to_dict(section: Section) -> dict[str, Any]:
    """Return a section as nested plain dictionaries and lists, the inverse of `from_dict`."""
    return section.model_dump(mode="json")


def _override(tree: Any, text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise UserError(f"--set {text}: write section.key=value")
    if key not in (known := list(_dotted_names(Params))) and not key.startswith("download.sha256."):
        raise UserError(f"--set {text}: no parameter {key}{nearest(key, known)}")
    parsed = parse_yaml(value, f"--set {shorten(text)}")
    for name in names[:-1]:
        tree = tree.setdefault(name, {}) if isinstance(tree, dict) else None
    if isinstance(tree, dict):  # else checking the file says what is wrong with it
        tree[names[-1]] = parsed


def _dotted_names(cls: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the names of all sections and keys."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _dotted_names(field.annotation, f"{prefix}{name}.")
