"""Read the YAML of a parameter file, and say in words what is wrong with it."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from frcnn.backbones import BACKBONES
from frcnn.errors import UserError
from frcnn.messages import LONGEST, cut, first_line, has_control_characters, shorten

if TYPE_CHECKING:
    from frcnn.params import Model, Params

WORDS = {
    "float": "a number", "int": "a whole number", "string": "text", "bool": "true or false", "dict": "a mapping",
    "tuple": "a non-empty list", "too": "a non-empty list", "model": "a mapping of parameters",
    "finite": "a finite number",
}  # fmt: skip
BOUNDS = {"ge": "at least {}", "gt": "greater than {}", "le": "at most {}", "lt": "less than {}"}


MOST_BYTES, MOST_VALUES, MOST_LEVELS, MOST_ALIASES = 1 << 16, 10_000, 20, 10
TAG = "tag:yaml.org,2002:"
NOT_READ = {f"{TAG}{name}" for name in ("binary", "timestamp", "omap", "pairs", "set")}


class _Loader(yaml.SafeLoader):
    """Reads numbers, texts, true, false, null, lists and mappings, within limits; a date is a text."""

    yaml_constructors = {tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag not in NOT_READ}
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in pairs if tag not in NOT_READ]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    values = levels = aliases = 0
    foreign = False

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Read one value, counting."""
        self.values, self.levels = self.values + 1, self.levels + 1
        self.aliases += self.check_event(yaml.AliasEvent)
        counts = (self.values, MOST_VALUES, "values"), (self.levels, MOST_LEVELS, "levels")
        for count, most, what in (*counts, (self.aliases, MOST_ALIASES, "aliases")):
            if count > most:
                raise _problem(f"more than {most} {what}", self.peek_event())
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Read a mapping, whose keys are texts and differ."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if self.foreign and key.tag == f"{TAG}int":
                key.tag = f"{TAG}str"
            if key.tag not in (f"{TAG}str", f"{TAG}merge"):
                raise _problem("a key is not text; put it in quotes", key)
            if key.value in seen:
                raise _problem(f"key {shorten(key.value)} occurs twice", key)
            seen.add(key.value)
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Return one value."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError) as error:
            raise _problem(f"{shorten(node.value)} cannot be read", node) from error
        if isinstance(value, int) and value.bit_length() > 63:
            raise _problem("a number is too large", node)
        if not self.foreign and isinstance(value, str) and has_control_characters(value):
            raise _problem(f"{shorten(value)} has control characters", node)
        return value


class ForeignLoader(_Loader):
    """Reads the YAML of other tools: numbers as keys are texts, and texts may have several lines."""

    foreign = True


def _problem(what: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=place.start_mark)


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        UserError: no such file, too long, or as `parse_yaml`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode()
    except OSError as error:
        remedy = "name a parameter file or a preset (default, demo, finetune, reference) with --params"
        raise UserError(f"{path}: {error.strerror}; {remedy}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: longer than {MOST_BYTES} bytes; is it a parameter file?")
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str, loader: type[_Loader] = _Loader) -> Any:
    """Return what a YAML text holds; `loader` states what is allowed in it.

    Raises:
        UserError: with `where`: not YAML, values of other types, a key twice, or more than the limits allow.
    """
    try:
        return yaml.load(text, loader)  # noqa: S506, a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise UserError(f"{where}:{line} not valid YAML: {getattr(error, 'problem', first_line(error))}") from error


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
    name = cut(name, 2 * LONGEST)
    kind, value, context = error["type"], cut(repr(error["input"]), 2 * LONGEST), error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown parameter {name}{nearest(name, known)}"
    if kind == "missing":
        return f"parameter {name} is missing; add it"
    if kind == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ")
        return f"{name} is {value}; choose from {choices}"
    allowed = next((words.format(f"{context[key]:g}") for key, words in BOUNDS.items() if key in context), None)
    allowed = allowed or WORDS.get(kind.partition("_")[0], error["msg"])
    return f"{name or 'the file'} is {value}; it must be {allowed}"


def number_of(value: Any) -> Any:
    """Return text as a number where it is one: PyYAML reads 1e-3, without a dot, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def list_per_map(value: Any) -> Any:
    """Return numbers, of all feature maps, as a list of one list; lists, one for each map, as they are."""
    flat = isinstance(value, (list, tuple)) and not any(isinstance(each, (list, tuple)) for each in value)
    return [value] if flat else value


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
    if params.train.validation.patience is not None and params.train.validation.keep != "best":
        yield "train.validation.patience needs train.validation.keep: best"
    for name in ("train_phase1", "train_phase2"):
        milestones, schedule = getattr(params, name).milestones, getattr(params, name).schedule
        if bool(milestones) != (schedule == "steps"):
            yield f"{name}.milestones is for schedule: steps, which needs at least one; schedule is {schedule}"
        if list(milestones) != sorted(set(milestones)):
            yield f"{name}.milestones has to rise"
    yield from _contradictions_of_model(params.model)
    yield from _contradictions_of_feature_maps(params)


def _contradictions_of_feature_maps(params: "Params") -> Iterator[str]:
    """Yield what does not fit the number of feature maps."""
    name, backbone, sizes = params.model.backbone, BACKBONES[params.model.backbone], params.anchors.anchor_sizes
    if len(sizes) not in (1, len(backbone.strides)):
        yield (
            f"anchors.anchor_sizes has {len(sizes)} lists; {name} has {len(backbone.strides)} feature maps: give one "
            "list for all or one for each"
        )
    if len({len(each) for each in sizes}) > 1:
        yield "anchors.anchor_sizes: the lists differ in length; all feature maps have as many anchors per cell"
    if backbone.family != "pyramid":
        return
    for section in ("train", "detect"):
        if getattr(params, section).framework == "tensorflow":
            yield f"{section}.framework: tensorflow has no feature pyramids (model.backbone: {name}); use torch"
    if params.model.roi_pool.op != "align":
        yield f"{name} has model.roi_pool.op: align, not {params.model.roi_pool.op}"


def _contradictions_of_model(model: "Model") -> Iterator[str]:
    """Yield what the backbone that was chosen would ignore or cannot do."""
    backbone = BACKBONES[model.backbone]
    vgg = backbone.family == "vgg"
    if backbone.family != "resnet" and (model.roi_pool.size != 7 or model.width != 64):
        yield f"{model.backbone} has model.roi_pool.size: 7 and model.width: 64, fixed by its layers"
    if model.stride_in_1x1 and not backbone.bottleneck:
        yield f"model.stride_in_1x1 is for blocks of three convolutions; {model.backbone} has none: set false"
    if model.roi_pool.sampling_ratio == 0 and model.roi_pool.op != "align":
        yield f"model.roi_pool.sampling_ratio: 0 is for op: align, not {model.roi_pool.op}"
    if not vgg and model.dropout:
        yield f"model.dropout is for VGG's fully connected layers; {model.backbone} has none: set 0"
    if model.freeze_at > backbone.stages:
        yield f"model.freeze_at is {model.freeze_at}; {model.backbone} has {backbone.stages} stages to freeze"
    if model.weights == "none" and (model.freeze_at or (model.norm == "frozen" and not vgg)):
        yield "to train from scratch (model.weights: none) set model.norm: trained and model.freeze_at: 0"
