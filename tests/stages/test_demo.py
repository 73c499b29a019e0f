"""The demo at reduced size, through DVC: all stages, up to date at the second call, and what an edit reruns."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frcnn.errors import UserError
from frcnn.params import load_params
from stages import demo

ROOT = Path(__file__).resolve().parents[2]
REDUCED = {
    ("download", "synthetic", "train_images"): 12,
    ("download", "synthetic", "val_images"): 4,
    ("download", "synthetic", "test_images"): 6,
    ("model", "width"): 16,
    ("train_phase1", "epochs"): 1,
    ("train_phase2", "epochs"): 1,
    ("render", "images"): 2,
}


def reduce(params: Path) -> None:
    tree = yaml.safe_load(params.read_text())
    for (*path, key), value in REDUCED.items():
        section = tree
        for name in path:
            section = section[name]
        section[key] = value
    params.write_text(yaml.safe_dump(tree))


def environment() -> dict[str, str]:
    binaries = Path(sys.executable).parent
    return os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def frcnn_demo(folder: Path) -> str:
    done = subprocess.run(["frcnn", "demo", str(folder)], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def would_run(folder: Path) -> set[str]:
    """Return the stages that DVC holds for changed."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(), check=True)
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo folder after `frcnn demo`, and what that printed; its code is a copy, to be edited."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    demo.prepare_folder(folder)
    reduce(folder / "params.yaml")
    return folder, frcnn_demo(folder)


@pytest.mark.slow
def test_everything_is_there(finished: tuple[Path, str]) -> None:
    folder, output = finished
    summary = json.loads((folder / "metrics" / "summary.json").read_text())
    assert summary["images"] == 6
    assert 0 <= summary["mAP_voc07"] <= 1
    assert set(summary["AP_voc07"]) <= {"circle", "cross", "rectangle", "ring", "star", "triangle"}
    for name in ("ap_per_class.csv", "pr_curves.csv", "train_phase1.csv", "train_phase2.csv"):
        assert (folder / "metrics" / name).stat().st_size
    assert len(list((folder / "data" / "renders").glob("*.png"))) == 3
    end = output[output.rindex("11-point") :]
    assert "train_phase1" in end
    assert "overview.png" in end


@pytest.mark.slow
def test_a_second_call_says_up_to_date(finished: tuple[Path, str]) -> None:
    assert frcnn_demo(finished[0]).count("up to date") == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("frcnn/render.py", {"render"}),
        ("frcnn/evaluation/curves.py", {"evaluate"}),
        ("frcnn/model/rpn.py", {"train_phase1", "train_phase2", "detect"}),
        ("frcnn/sources/shapes.py", {"download"}),
        ("stages/cli.py", set()),
    ],
)
def test_an_edit_reruns_what_depends_on_it(finished: tuple[Path, str], file: str, stages: set[str]) -> None:
    folder = finished[0]
    for name in ("frcnn", "stages"):
        if (folder / name).is_symlink():
            (folder / name).unlink()
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    original = (folder / file).read_text()
    (folder / file).write_text(original + "# edited\n")
    try:
        assert would_run(folder) == stages
    finally:
        (folder / file).write_text(original)


def test_the_folder_is_a_project_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo.prepare_folder(folder)
    assert "no_scm = true" in (folder / ".dvc" / "config").read_text()
    assert (folder / "params.yaml").read_text() == (ROOT / "params.demo.yaml").read_text()
    (folder / "params.yaml").write_text("mine")
    demo.prepare_folder(folder)
    assert (folder / "params.yaml").read_text() == "mine"


def test_the_framework_is_written_to_a_new_folders_parameters(tmp_path: Path) -> None:
    demo.prepare_folder(tmp_path / "demo", "tensorflow")
    params = load_params(tmp_path / "demo" / "params.yaml")
    assert (params.train.framework, params.detect.framework) == ("tensorflow", "tensorflow")
    expected = load_params(ROOT / "params.demo.yaml", ["train.framework=tensorflow", "detect.framework=tensorflow"])
    assert params == expected
    demo.prepare_folder(tmp_path / "demo")
    with pytest.raises(UserError, match="has another train.framework than torch; edit it, or name another folder"):
        demo.prepare_folder(tmp_path / "demo", "torch")
    assert load_params(tmp_path / "demo" / "params.yaml") == params


def test_where_links_are_refused_the_code_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    for _ in range(2):
        demo.prepare_folder(tmp_path / "demo")
    assert (tmp_path / "demo" / "frcnn" / "boxes.py").is_file()
    assert (tmp_path / "demo" / "dvc.yaml").is_file()


@pytest.mark.parametrize("name", ["thesis.txt", "dvc.yaml"])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match="exists and is no demo"):
        demo.prepare_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
