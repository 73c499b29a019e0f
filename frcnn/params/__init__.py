"""params.yaml as frozen models: every key known, typed and in range, with the default of the paper.

A file may leave keys out; they take the defaults. `params.yaml` holds all, a preset (frcnn/presets/) what differs.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from frcnn.backbones import BACKBONES
from frcnn.errors import UserError
from frcnn.messages import shorten
from frcnn.param_file import contradictions, describe, nearest, parse_yaml, read_yaml
from frcnn.params.augment import Augment
from frcnn.params.training import Phase, Phase1, Phase2, Postprocessing, Train
from frcnn.params.types import (
    NUMBER,
    AtLeastOne,
    Count,
    Drawn,
    Fraction,
    Framework,
    Names,
    NonNegative,
    Numbers,
    Precision,
    Section,
    Seed,
    Share,
    Sizes,
)

MOST_LINES = 30  # about what is wrong with a file
PRESETS = Path(__file__).parent.parent / "presets"

if TYPE_CHECKING:
    BackboneName = str
else:
    BackboneName = Literal[tuple(BACKBONES)]


class Synthetic(Section):
    """The drawn dataset."""

    seed: Seed = 1
    train_images: Drawn = 800
    val_images: Drawn = 200
    test_images: Drawn = 300


class Split(Section):
    """How a source without lists or folders of splits is split."""

    test: Share = 0.2
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


class Detect(Postprocessing):
    """Detection on the test split and in `predict`."""

    framework: Framework = "torch"
    batch_size: AtLeastOne = 1
    precision: Precision = "float32"


class Evaluate(Section):
    """How detections are judged."""

    iou_threshold: Fraction = 0.5
    coco: bool = True


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
    augment: Augment = Augment()
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
        overrides: `section.key=value` texts that replace values of the file; the value is YAML, of a section a part.

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
        tree[names[-1]] = _merged(tree.get(names[-1]), parsed)


def _merged(old: Any, new: Any) -> Any:
    """Return a value, or of two sections the old one with what the new one has."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


def _dotted_names(cls: type[Section], prefix: str = "") -> Iterator[str]:
    """Yield the names of all sections and keys."""
    for name, field in cls.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _dotted_names(field.annotation, f"{prefix}{name}.")
