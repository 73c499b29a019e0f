"""dvc.yaml tells the truth: it declares the code that a stage imports and the commands' default paths."""

import ast
import importlib
import inspect
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.factories import ROOT

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MODULES = {name: "train" if name.startswith("train") else name for name in PIPELINE}
# Code that cannot change a result, only how it is said, stored or found.
PLUMBING = {
    "frcnn/__init__.py": "the version",
    "frcnn/errors.py": "messages",
    "frcnn/files.py": "how files are written",
    "frcnn/parallel.py": "how work is spread",
    "frcnn/params.py": "its values are declared as params",
    "stages/__init__.py": "a docstring",
    "stages/console.py": "progress bars",
    "stages/options.py": "option texts",
    "stages/interrupt.py": "signals",
    "stages/launch.py": "how processes are started",
    "stages/training_bar.py": "a progress bar",
    "stages/initial_weights.py": "what it finds is verified, and recorded, by digest",
    "frcnn/sources/fetch.py": "as above",
    "frcnn/sources/published.py": "as above",
}
# Imported for an option that the pipeline does not use.
UNUSED = {"anchors": {"frcnn/render.py"}}


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the modules a file imports, inside functions too, but not those imported for type checking alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def files_of(module: str) -> Iterator[Path]:
    """Yield the files that importing a module of ours executes: packages' __init__.py and itself."""
    parts = module.split(".")
    if parts[0] in ("frcnn", "stages"):
        for end in range(1, len(parts) + 1):
            base = ROOT.joinpath(*parts[:end])
            yield from (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file())


def code_of(stage: str) -> set[str]:
    """Return every file of ours that a stage's module imports, directly or not."""
    found: set[Path] = set()
    waiting = [ROOT / "stages" / f"{MODULES[stage]}.py"]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [file for module in imported_modules(path) for file in files_of(module)]
    return {path.relative_to(ROOT).as_posix() for path in found if path.stat().st_size}


def declared(stage: str, *kinds: str) -> list[str]:
    entries = [entry for kind in kinds for entry in PIPELINE[stage].get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


@pytest.mark.parametrize("stage", PIPELINE)
def test_the_declared_code_is_the_imported_code(stage: str) -> None:
    code = {dep for dep in declared(stage, "deps") if dep.startswith(("frcnn", "stages"))}
    used = code_of(stage) - set(PLUMBING) - UNUSED.get(stage, set())
    covered = {file for file in used if file in code or any(file.startswith(f"{dep}/") for dep in code)}
    assert used - covered == set(), "imported, but not declared"
    idle = {dep for dep in code if not any(file == dep or file.startswith(f"{dep}/") for file in used)}
    assert idle == set(), "declared, but not imported"


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
    for name in ("params.yaml", "params.demo.yaml"):
        tree = yaml.safe_load((ROOT / name).read_text())
        for key in PIPELINE[stage]["params"]:
            value = tree
            for part in key.split("."):
                value = value[part]


def test_the_library_does_not_import_the_command_line() -> None:
    for path in sorted((ROOT / "frcnn").rglob("*.py")):
        roots = {module.split(".")[0] for module in imported_modules(path)}
        assert not roots & {"stages", "typer", "rich", "dvc"}, path


@pytest.mark.parametrize("module", ["download", "anchors", "evaluate", "render", "check"])
def test_stages_without_a_network_do_not_import_torch(module: str) -> None:
    code = set()
    waiting = [ROOT / "stages" / f"{module}.py"]
    while waiting:
        path = waiting.pop()
        if path not in code:
            code.add(path)
            names = list(imported_modules(path))
            assert not any(name.split(".")[0] in ("torch", "torchvision", "safetensors") for name in names), path
            waiting += [file for name in names for file in files_of(name)]


def test_help_imports_nothing_heavy() -> None:
    heavy = "torch tensorflow keras numpy h5py pandas PIL matplotlib pycocotools dvc"
    code = f"import sys, stages.cli; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_tensorflow_is_imported_only_where_it_is_asked_for() -> None:
    modules = "frcnn.training.setup, frcnn.training.loop, frcnn.pytorch.inference, benchmarks.suite"
    code = f"import sys, {modules}; print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_command_says_what_it_reads_and_writes() -> None:
    from stages.cli import app

    helps = {command.name: inspect.getdoc(command.callback) for command in app.registered_commands}
    assert set(helps) == {
        "download", "anchors", "train", "detect", "evaluate", "render", "demo", "check", "predict", "import-weights",
        "bench",
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
