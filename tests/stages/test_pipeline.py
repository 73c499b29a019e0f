"""dvc.yaml tells the truth: it declares the code that a stage imports and the commands' default paths."""

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.factories import ROOT
from tests.structure import closure, imported_modules

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MODULES = {name: "train" if name.startswith("train") else name for name in PIPELINE}


def declared(stage: str, *kinds: str) -> list[str]:
    entries = [entry for kind in kinds for entry in PIPELINE[stage].get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_default_paths_are_those_of_the_pipeline(stage: str) -> None:
    run = importlib.import_module(f"stages.{MODULES[stage]}").run
    defaults = [parameter.default for parameter in inspect.signature(run).parameters.values()]
    paths = [path for path in defaults if isinstance(path, Path)]
    files = [Path(p) for p in declared(stage, "deps", "outs", "metrics", "plots") if p.startswith(("data", "metrics"))]
    assert files
    for file in files:
        assert any(file == path or path in file.parents for path in paths), f"{file} is no default of frcnn {stage}"


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_declared_parameters_exist(stage: str) -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key in PIPELINE[stage]["params"]:
        value = tree
        for part in key.split("."):
            value = value[part]


@pytest.mark.parametrize("command", ["download", "anchors", "evaluate", "render", "report", "check"])
def test_stages_without_a_network_do_not_import_torch(command: str) -> None:
    """Of the files that they import none imports it; of safetensors, one part does."""
    for file in closure(f"stages/{command}.py"):
        modules = set(imported_modules(ROOT / file))
        roots = {module.split(".")[0] for module in modules}
        assert not roots & {"torch", "torchvision", "keras", "tensorflow"}, file
        assert "safetensors.torch" not in modules, file


def test_help_imports_nothing_heavy() -> None:
    heavy = "torch tensorflow keras numpy h5py pandas PIL matplotlib faster_coco_eval jinja2 dvc"
    code = f"import sys, stages.commands; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_tensorflow_is_imported_only_where_it_is_asked_for() -> None:
    modules = "frcnn.training.setup, frcnn.training.loop, frcnn.pytorch.inference, benchmarks.network"
    code = f"import sys, {modules}; print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_command_says_what_it_reads_and_writes() -> None:
    from stages.commands import app

    helps = {command.name: inspect.getdoc(command.callback) for command in app.registered_commands}
    assert set(helps) == {
        "download", "anchors", "train", "detect", "evaluate", "render", "demo", "check", "predict", "import-weights",
        "preset", "models", "export", "init", "run", "report",
    }  # fmt: skip
    for name, text in helps.items():
        assert text, name
        assert text.count(". ") == 0, name
        assert "rite" in text, name


def test_dvc_shows_the_whole_graph_without_any_data(tmp_path: Path) -> None:
    """Plain --dry stops at the first stage whose input is not there yet (DVC 3.67); --force does not look."""
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("frcnn", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    command = [sys.executable, "-m", "dvc", "repro", "--force", "--dry"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("> ")] == [
        f"> {stage['cmd']}" for stage in PIPELINE.values()
    ]
