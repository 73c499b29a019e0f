"""params.yaml: every key known and in range, every mistake a line that names the key; the presets; the JSON schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from frcnn.errors import UserError
from frcnn.params import PRESETS, Params, from_dict, load_params, to_dict
from frcnn.params.types import Section
from tests.factories import ROOT

NAMES = ["demo", "finetune", "reference"]
GENERATE = "generate it: json.dumps(Params.model_json_schema(), indent=2) and a line break"


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of everything that is not a non-empty mapping."""
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from leaves(value, f"{prefix}{name}.")
    else:
        yield prefix.rstrip("."), tree


def sections(section: Section) -> Iterator[Section]:
    yield section
    for name in type(section).model_fields:
        if isinstance(child := getattr(section, name), Section):
            yield from sections(child)


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_params_yaml_states_every_key_with_its_default() -> None:
    assert load_params(ROOT / "params.yaml") == Params()
    assert sorted(name for name, _ in leaves(read(ROOT / "params.yaml"))) == sorted(dict(leaves(to_dict(Params()))))


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_holds_only_what_differs(name: str) -> None:
    params, defaults = load_params(Path(name)), dict(leaves(to_dict(Params())))
    assert params == load_params(PRESETS / f"{name}.yaml") != Params()
    assert params.phase(1) is params.train_phase1
    assert params.phase(2) is params.train_phase2
    for key, value in leaves(read(PRESETS / f"{name}.yaml")):
        assert defaults[key] != value, key


def test_the_package_has_a_copy_of_params_yaml() -> None:
    assert (PRESETS / "default.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert sorted(path.stem for path in PRESETS.glob("*.yaml")) == ["default", *NAMES]


def test_sections_are_short() -> None:
    for section in sections(Params()):
        assert len(type(section).model_fields) <= 16, type(section)


def test_the_schema_is_that_of_the_parameters() -> None:
    text = (ROOT / "params.schema.json").read_text(encoding="utf-8")
    assert text == json.dumps(Params.model_json_schema(), indent=2) + "\n", GENERATE


def test_parameters_survive_a_dictionary_and_are_hashable() -> None:
    params = load_params(Path("demo"), ["download.classes=[a, b]", "download.sha256.x=ab"])
    assert from_dict(Params, json.loads(json.dumps(to_dict(params))), "") == params
    assert hash(params.anchors) == hash(load_params(Path("demo")).anchors)


def test_values_are_read_with_their_types() -> None:
    params = load_params(ROOT / "params.yaml", ["train.optimizer.weight_decay=1e-3", "detect.max_detections=null"])
    assert params.train.optimizer.weight_decay == 0.001  # PyYAML reads 1e-3 as text
    assert params.detect.max_detections is None
    assert params.anchors.anchor_sizes == ((128.0, 256.0, 512.0),)
    assert params.anchors.per_cell == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=4", "no parameter train.batchsize; did you mean train.batch_size?"),
        ("model.nms_threshold=1", "no parameter model.nms_threshold; did you mean model.proposals.nms_threshold?"),
        ("train.batch_size", "write section.key=value"),
        ("train.batch_size=0", "train.batch_size is 0; it must be at least 1"),
        ("train.batch_size=two", "train.batch_size is 'two'; it must be a whole number"),
        ("train.batch_size=true", "train.batch_size is True; it must be a whole number"),
        ("train.batch_size=1.5", "train.batch_size is 1.5; it must be a whole number"),
        ("train.flip_probability=1.5", "train.flip_probability is 1.5; it must be at most 1"),
        ("train.optimizer.name=rmsprop", "train.optimizer.name is 'rmsprop'; choose from sgd, adam, adamw"),
        ("train.optimizer.clip_gradients=norm", "is 'norm'; choose from variable, global_norm, value"),
        ("train.optimizer.clip_at=0", "train.optimizer.clip_at is 0; it must be greater than 0"),
        ("model.backbone=vgg", "choose from vgg16, vgg16-torch, resnet18"),
        ("train_phase1.learning_rate=-1", "train_phase1.learning_rate is -1; it must be greater than 0"),
        ("train_phase1.learning_rate=.nan", "train_phase1.learning_rate is nan; it must be a finite number"),
        ("train_phase1.learning_rate=.inf", "is inf; it must be a finite number"),
        ("anchors.anchor_sizes=[]", "anchors.anchor_sizes[0] is []; it must be a non-empty list"),
        ("anchors.anchor_sizes=[1, big]", "anchors.anchor_sizes[0][1] is 'big'; it must be a number"),
        ("model=vgg", "model is 'vgg'; it must be a mapping"),
        ("data.max_size=100", "data.max_size 100 is less than data.min_size"),
        ("anchors.rpn_negative_iou=0.8", "rpn_negative_iou is greater"),
        ("model.stride_in_1x1=true", "model.stride_in_1x1 is for blocks of three convolutions; vgg16 has none"),
        ("model.roi_pool={op: pool, sampling_ratio: 0}", "sampling_ratio: 0 is for op: align, not pool"),
        ("train.validation.keep=best", "needs train.validation.fraction above 0"),
        ("train.validation={fraction: 0.1, patience: 3}", "patience needs train.validation.keep: best"),
        ("train.ema_decay=1", "train.ema_decay is 1; it must be less than 1"),
        ("train_phase1.schedule=steps", "milestones is for schedule: steps, which needs at least one"),
        ("train_phase2.milestones=[0.5]", "train_phase2.milestones is for schedule: steps"),
        ("train_phase1={schedule: steps, milestones: [0.9, 0.5]}", "train_phase1.milestones has to rise"),
        ("train_phase1={schedule: steps, milestones: [0.5, 60]}", "milestones[1] is 60; it must be less than 1"),
        ("model.weights=none", "train from scratch"),
        ("model.roi_pool.size=5", "has model.roi_pool.size: 7"),
        ("train.roi.background_min_iou=0.6", "train.roi.background_min_iou is greater"),
        ("augment.preset=heavy", "augment.preset is 'heavy'; choose from none, light, strong"),
        (
            "augment.geometric.scale={probability: 1, range: [2, 1]}",
            "given a range from 0.05 to 10, the smaller number",
        ),
        ("augment.photometric.hue={probability: 1, range: [0, 1]}", "it must be given a range from -0.5 to 0.5, the"),
        ("augment.photometric.hue={probability: 1}", "parameter augment.photometric.hue.range is missing; add it"),
        ("train.seed=[", "not valid YAML"),
        ("train.seed=x: y: z", "not valid YAML"),
    ],
)
def test_a_wrong_value_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_params(ROOT / "params.yaml", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("data: {min_size: 0, rounding: up}\ntrain: {flip_probabilty: 0.5}\nrender: 1\n")
    with pytest.raises(UserError) as error:
        load_params(path)
    assert error.value.args == (
        f"{path}: data.min_size is 0; it must be at least 1",
        f"{path}: data.rounding is 'up'; choose from nearest, down",
        f"{path}: unknown parameter train.flip_probabilty; did you mean train.flip_probability?",
        f"{path}: render is 1; it must be a mapping of parameters",
    )
    with pytest.raises(UserError) as error:
        load_params(ROOT / "params.yaml", ["data.max_size=100", "model.dropout=0.5", "model.backbone=resnet18"])
    assert [line.split(": ")[1].split()[0] for line in error.value.args] == ["data.max_size", "model.dropout"]


def test_keys_that_are_left_out_take_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("train: {seed: 2}\n")
    params = load_params(tmp_path / "params.yaml", ["data.min_size=500"])
    assert (params.train.seed, params.train.batch_size, params.data.min_size) == (2, 1, 500)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is None; it must be a mapping"),
        ("a: [1", "line 1: not valid YAML"),
        ("- 1", r"the file is \[1\]; it must be a mapping"),
        (b"\xff\xfe", "not a text file in UTF-8"),
    ],
    ids=["empty", "broken", "list", "binary"],
)
@pytest.mark.parametrize("overrides", [(), ("train.seed=2",), ("model={}",)])
def test_a_file_that_is_no_parameter_file(
    tmp_path: Path, content: str | bytes, message: str, overrides: tuple[str, ...]
) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_params(path, overrides)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file or directory; name a parameter file or a preset"):
        load_params(tmp_path / "none.yaml")


def test_a_folder_does_not_hide_the_preset_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert load_params(Path("demo")).download.source == "synthetic"


def test_a_part_of_a_section_leaves_the_rest() -> None:
    usual = load_params(Path("demo"))
    params = load_params(Path("demo"), ["train_phase1={epochs: 1}", "train={rpn: {batch_size: 8}}"])
    assert (params.train_phase1.epochs, params.train.rpn.batch_size) == (1, 8)
    assert params.train_phase1.learning_rate == usual.train_phase1.learning_rate != Params().train_phase1.learning_rate
    assert params.train.rpn.pre_nms_topk == usual.train.rpn.pre_nms_topk
