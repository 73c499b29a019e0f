"""The house: directions of imports, lengths of files and functions, and the code that dvc.yaml and checkpoints name."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from frcnn.training import checkpoint
from tests.factories import ROOT
from tests.structure import closure, imported_modules, imports_of

PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
FILES = sorted([*(ROOT / "frcnn").rglob("*.py"), *(ROOT / "stages").rglob("*.py"), *(ROOT / "benchmarks").glob("*.py")])
LONGEST_FILE, LONGEST_FUNCTION = 350, 60
# Each room may import those before it, and of its own.
ROOMS = (
    (
        "__init__",
        "allocation",
        "arrays",
        "backbones",
        "boxes",
        "colors",
        "errors",
        "files",
        "fonts",
        "messages",
        "signals",
    ),
    (
        "parallel",
        "read_ahead",
        "param_file",
        "params",
        "presets",
        "template",
        "distributed",
        "checksums",
        "unchanged",
        "pipeline",
    ),
    ("fetching", "pretrained", "data/voc", "array_file"),
    ("data/resizing", "data/augmentation", "data/lookalikes", "data/export", "sources", "picture_sources", "images"),
    ("data/checks", "data/notes"),
    ("anchors", "detections/detections"),
    ("detections", "evaluation", "report", "detector"),
    ("result",),
    ("pytorch", "keras", "onnx"),
    ("frameworks",),
    ("anchor_labeling", "split_detection", "predictor"),
    ("training",),
    ("importing", "profiling", "advice", "learning_curves", "training_lines"),
    ("report/page",),
    ("loading",),
    ("workflow",),
)


def covered(entries: list[str]) -> set[str]:
    """Return the files that entries, files or folders, stand for."""
    files: set[str] = set()
    for entry in entries:
        path = ROOT / entry
        files |= {file.relative_to(ROOT).as_posix() for file in (path.rglob("*.py") if path.is_dir() else [path])}
    return files


def filled(files: set[str]) -> set[str]:
    """Return the files that are not empty."""
    return {file for file in files if (ROOT / file).stat().st_size}


def room_of(path: Path) -> int:
    name = path.relative_to(ROOT / "frcnn").with_suffix("").as_posix()
    best = [(len(room), number) for number, rooms in enumerate(ROOMS) for room in rooms if is_in(name, room)]
    assert best, f"{name} is in no room"
    return max(best)[1]


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}/") or name.removesuffix("/__init__") == room


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION + argument_lines(node), node.name


def argument_lines(node: ast.FunctionDef) -> int:
    """Return the lines of a function's arguments and docstring, which a reader skips."""
    body = node.body[0]
    first = body.lineno
    if isinstance(body, ast.Expr) and isinstance(body.value, ast.Constant):
        first = body.end_lineno + 1
    return first - node.lineno


def test_nothing_is_imported_upwards() -> None:
    for path in sorted((ROOT / "frcnn").rglob("*.py")):
        if path.name == "__init__.py" and not path.read_text().strip():
            continue
        for file in imports_of(path):
            name = file.relative_to(ROOT).as_posix()
            assert not name.startswith("stages"), f"{path} imports the command line"
            if file.name != "__init__.py":
                assert room_of(file) <= room_of(path), f"{path} imports {name} from above"


def test_there_is_no_circle() -> None:
    files = [path for path in FILES if path.name != "__init__.py"]
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        others = {file.relative_to(ROOT).as_posix() for file in imports_of(path) if file.name != "__init__.py"}
        assert name not in closure(*(others - {name})) or not others, f"{name} imports itself by a detour"


def test_the_frameworks_do_not_know_each_other() -> None:
    for ours, other in (("pytorch", "keras"), ("keras", "pytorch")):
        for path in sorted((ROOT / "frcnn" / ours).rglob("*.py")):
            assert not any(module.startswith(f"frcnn.{other}") for module in imported_modules(path)), path


def test_the_library_knows_no_command_line() -> None:
    for path in sorted((ROOT / "frcnn").rglob("*.py")):
        roots = {module.split(".")[0] for module in imported_modules(path)}
        assert not roots & {"stages", "typer", "rich", "dvc", "benchmarks"}, path


def test_no_test_of_the_library_imports_the_command_line() -> None:
    for path in sorted((ROOT / "tests" / "frcnn").rglob("*.py")):
        assert not any(module.split(".")[0] == "stages" for module in imported_modules(path)), path


def test_a_file_name_is_used_once() -> None:
    names: dict[str, list[str]] = {}
    for path in sorted((ROOT / "frcnn").rglob("*.py")):
        parts = path.relative_to(ROOT / "frcnn").parts
        if path.name != "__init__.py" and parts[0] != "keras":  # its files are the twins of pytorch's
            names.setdefault(path.name, []).append("/".join(parts))
    assert {name: files for name, files in names.items() if len(files) > 1} == {}


@pytest.mark.parametrize("stage", PIPELINE)
def test_dvc_declares_exactly_the_code_that_a_stage_imports(stage: str) -> None:
    command = f"stages/{'train' if stage.startswith('train') else stage}.py"
    entries = [dep for dep in PIPELINE[stage]["deps"] if dep.startswith(("frcnn", "stages"))]
    used = filled({file for file in closure(command) if not file.startswith("stages/") or file == command})
    declared = filled(covered(entries))
    assert used - declared == set(), "imported, but not declared"
    assert declared - used == set(), "declared, but not imported"


def test_the_fingerprint_covers_exactly_the_code_that_training_imports() -> None:
    entries = [*checkpoint.CODE, *checkpoint.KERAS_CODE, *checkpoint.ONNX_CODE, *checkpoint.VALIDATION_CODE]
    used = closure("frcnn/training/setup.py", "frcnn/training/loop.py")
    assert filled(used) == filled(covered([f"frcnn/{entry}" for entry in entries]))


def test_all_packages_are_dependencies() -> None:
    """What is imported is installed with this project, or with an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[<>=]", each)[0].replace("-", "_") for each in project["dependencies"]}
    needed = needed - {"pyyaml", "pillow", "ruamel.yaml"} | {"yaml", "PIL", "ruamel", "pydantic_core"}
    extra = {"tensorflow", "keras", "onnx", "onnxscript", "onnxruntime", "tensorboard", "supervision"}
    for path in FILES:
        if path.relative_to(ROOT).parts[0] in ("frcnn", "stages"):
            roots = {module.split(".")[0] for module in imported_modules(path)}
            assert roots - sys.stdlib_module_names <= {"frcnn", "stages"} | needed | extra, path
