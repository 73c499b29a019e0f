"""Parameters and inputs that are edited while a stage runs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from frcnn.errors import UserError
from frcnn.params import PRESETS, load_params
from frcnn.unchanged import PARAMETERS, watch
from tests.factories import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_bytes((PRESETS / "demo.yaml").read_bytes())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "dataset"
    (folder / "Annotations").mkdir(parents=True)
    for name in "ab":
        (folder / "Annotations" / f"{name}.xml").write_text(name)
    return folder


def test_the_parameters_of_each_stage_are_those_of_dvc_yaml() -> None:
    assert {name: tuple(stage["params"]) for name, stage in PIPELINE.items()} == PARAMETERS


@pytest.mark.parametrize(
    ("edit", "stage", "named"),
    [
        ("train_phase1: {learning_rate: 0.5}", "train_phase1", "train_phase1"),
        ("train_phase1: {learning_rate: 0.5}", "train_phase2", None),
        ("splits: {test: val}", "train_phase1", None),
        ("splits: {test: val}", "detect", "splits.test"),
        ("model: {backbone: resnet34}", "anchors", "model.backbone"),
        ("model: {head_pool: max}", "anchors", None),
        ("render: {images: 3}  # a remark", "evaluate", None),
    ],
)
def test_an_edited_parameter_counts_where_the_stage_reads_it(
    params_file: Path, edit: str, stage: str, named: str | None
) -> None:
    require_unchanged = watch(stage, params_file, [], load_params(params_file), [])
    require_unchanged()
    values = yaml.safe_load(params_file.read_text())
    for section, changes in yaml.safe_load(edit).items():
        values.setdefault(section, {}).update(changes)
    params_file.write_text(yaml.safe_dump(values))
    if named is None:
        require_unchanged()
    else:
        with pytest.raises(UserError, match=f"params.yaml: {named} was changed while this ran; nothing is written; "):
            require_unchanged()


def test_an_overridden_parameter_may_be_edited(params_file: Path) -> None:
    overrides = ["evaluate.iou_threshold=0.7"]
    require_unchanged = watch("evaluate", params_file, overrides, load_params(params_file, overrides), [])
    values = yaml.safe_load(params_file.read_text()) | {"evaluate": {"iou_threshold": 0.6}}
    params_file.write_text(yaml.safe_dump(values))
    require_unchanged()


def test_a_parameter_file_that_is_no_longer_one(params_file: Path) -> None:
    require_unchanged = watch("detect", params_file, [], load_params(params_file), [])
    params_file.unlink()
    with pytest.raises(UserError, match="params.yaml: "):
        require_unchanged()


def rewrite(path: Path) -> None:
    """Put another file of the same size and time in the place of one, as some copying programs do."""
    new = path.with_name(".new")
    new.write_text(path.read_text().upper())
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.replace(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (rewrite, "a.xml"),
        (lambda path: path.write_text("A"), "a.xml"),
        (lambda path: path.unlink(), "a.xml"),
        (lambda path: path.with_name("c.xml").touch(), "c.xml"),
        (lambda path: path.with_name(".DS_Store").touch(), None),
        (lambda path: path.read_text(), None),
    ],
)
@pytest.mark.parametrize("linked", [False, True])
def test_a_changed_file(
    params_file: Path, folder: Path, change: Callable[[Path], object], named: str | None, linked: bool
) -> None:
    shown = folder
    if linked:
        shown = folder.with_name("link")
        shown.symlink_to(folder)
    require_unchanged = watch("evaluate", params_file, [], load_params(params_file), [shown, folder / "absent"])
    change(folder / "Annotations" / "a.xml")
    if named is None:
        require_unchanged()
    else:
        with pytest.raises(UserError, match=f"{shown.name}/Annotations/{named}: it was changed while this ran; "):
            require_unchanged()
