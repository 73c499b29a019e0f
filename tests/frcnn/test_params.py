"""params.yaml: every mistake is one line that names the key."""

from pathlib import Path

import pytest

from frcnn.errors import UserError
from frcnn.params import load_params

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["params.yaml", "params.demo.yaml", "params.reference.yaml"])
def test_the_files_of_the_project_are_complete(name: str) -> None:
    params = load_params(ROOT / name)
    assert params.phase(1) is params.train_phase1
    assert params.phase(2) is params.train_phase2


def test_values_are_read_with_their_types() -> None:
    params = load_params(ROOT / "params.yaml", ["train.weight_decay=1e-3", "detect.max_detections=null"])
    assert params.train.weight_decay == 0.001  # PyYAML reads 1e-3 as text
    assert params.detect.max_detections is None
    assert params.anchors.anchor_sizes == [128.0, 256.0, 512.0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batchsize=4", "no parameter train.batchsize"),
        ("train.batch_size", "write section.key=value"),
        ("train.batch_size=0", "train.batch_size is 0; it must be at least 1"),
        ("train.batch_size=two", "train.batch_size is 'two'; it must be a whole number"),
        ("train.batch_size=true", "train.batch_size is True; it must be a whole number"),
        ("train.batch_size=1.5", "train.batch_size is 1.5; it must be a whole number"),
        ("train.flip_probability=1.5", "train.flip_probability is 1.5; it must be from 0 to 1"),
        ("train.optimizer=rmsprop", "train.optimizer is 'rmsprop'; choose from sgd, adam, adamw"),
        ("train.clip_gradients=norm", "is 'norm'; choose from variable, global_norm, value"),
        ("train.clip_at=0", "train.clip_at is 0; it must be greater than 0"),
        ("train_phase1.learning_rate=-1", "train_phase1.learning_rate is -1; it must be greater than 0"),
        ("train_phase1.learning_rate=.nan", "train_phase1.learning_rate is nan; it must be"),
        ("anchors.anchor_sizes=[]", "anchors.anchor_sizes is []; it must be a non-empty list"),
        ("anchors.anchor_sizes=[1, big]", "anchors.anchor_sizes[1] is 'big'; it must be a number"),
        ("model=vgg", "model must be a mapping"),
        ("data.max_size=100", "data.max_size 100 is less than data.min_size"),
        ("anchors.rpn_negative_iou=0.8", "rpn_negative_iou is greater"),
        ("train.keep=best", "needs train.val_fraction above 0"),
        ("model.weights=none", "train from scratch"),
        ("model.roi_size=5", "has model.roi_size: 7"),
        ("train.roi_bg_lo=0.6", "roi_bg_lo is greater"),
        ("train.seed=[", "is not valid YAML"),
        ("train_phase1.learning_rate=.inf", "is inf; it must be"),
        ("train.seed=x: y: z", "is not valid YAML"),
    ],
)
def test_a_wrong_value_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        load_params(ROOT / "params.yaml", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_and_missing_keys_are_named(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("flip_probability:", "flip_probabilty:"))
    with pytest.raises(UserError, match=r"unknown parameter train.flip_probabilty; did you mean flip_probability\?"):
        load_params(path)
    path.write_text(text.replace("  flip_probability: 0.5\n", ""))
    with pytest.raises(UserError, match="parameter train.flip_probability is missing; add it"):
        load_params(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a mapping"),
        ("a: [1", "line 1: not valid YAML"),
        ("- 1", "must be a mapping"),
        (b"\xff\xfe", "not"),
    ],
    ids=["empty", "broken", "list", "binary"],
)
def test_a_file_that_is_no_parameter_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        load_params(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        load_params(tmp_path / "none.yaml")
