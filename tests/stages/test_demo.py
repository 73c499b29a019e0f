"""The demo at reduced size, through DVC: all stages, up to date at the second call, rerun by another version."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frcnn.errors import UserError
from frcnn.params import load_params
from frcnn.presets import commented_params
from stages import demo
from tests.factories import ROOT, start, wait_for

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
    """A demo folder after `frcnn demo`, and what that printed."""
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
    assert "data/renders" in end
    assert "</html>" in (folder / "data" / "report" / "index.html").read_text()


@pytest.mark.slow
def test_a_second_call_says_up_to_date(finished: tuple[Path, str]) -> None:
    assert frcnn_demo(finished[0]).count("up to date") == 8


LOCK, RUNNING = "dvc.lock", ".dvc/tmp/rwlock"  # DVC writes both in place
GOOD = {
    LOCK: "schema: '2.0'\nstages:\n  detect:\n    cmd: frcnn detect\n    deps:\n    - path: params.yaml\n",
    RUNNING: '{"read": {}, "write": {"data/anchors.h5": {"pid": 1, "cmd": "repro"}}}',
}


@pytest.mark.parametrize(
    ("name", "content", "stays"),
    [
        (LOCK, b"", False),
        (LOCK, GOOD[LOCK].encode()[:16], False),  # without stages
        (LOCK, GOOD[LOCK].encode()[:34], False),  # a stage without its command
        (LOCK, GOOD[LOCK].encode() + b"   - {", False),
        (LOCK, bytes(64), False),
        (LOCK, b"\xff\xfe", False),
        (LOCK, b"[" * 100_000, False),
        (LOCK, GOOD[LOCK].encode(), True),
        (RUNNING, b"", False),
        (RUNNING, GOOD[RUNNING].encode()[:-9], False),
        (RUNNING, b"[]", False),
        (RUNNING, GOOD[RUNNING].encode(), True),
    ],
)
def test_what_a_kill_of_dvc_left_is_removed(
    tmp_path: Path, name: str, content: bytes, stays: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".dvc" / "tmp").mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    demo.remove_broken(tmp_path)
    assert (tmp_path / name).exists() == stays
    assert capsys.readouterr().out.count(f"{tmp_path / name}: damaged, so removed;") == (not stays)


@pytest.mark.slow
@pytest.mark.parametrize("name", [LOCK, RUNNING])
def test_the_demo_goes_on_after_a_kill_of_dvc(finished: tuple[Path, str], name: str) -> None:
    (finished[0] / name).write_bytes(b"")
    assert f"{name}: damaged, so removed" in frcnn_demo(finished[0])
    assert frcnn_demo(finished[0]).count("up to date") == 8


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_demo_alone_ends_dvc_and_the_stage(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    demo.prepare_folder(folder)
    reduce(folder / "params.yaml")
    process = start(tmp_path, "frcnn", "demo", str(folder), **environment())
    wait_for(folder / "checkpoints" / "phase1" / "lock", process)
    second = start(tmp_path, "frcnn", "demo", str(folder), **environment())
    assert second.communicate()[1].endswith("demo: another demo is running here; wait for it or stop it\n")
    process.send_signal(number)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert stderr.splitlines()[-1] == f"stopped by {number.name}"
    assert "Traceback" not in stderr
    running = [path.parent for path in Path("/proc").glob("[0-9]*/cwd") if is_link_to(path, folder)]
    assert running == []
    frcnn_demo(folder)


def is_link_to(path: Path, target: Path) -> bool:
    try:
        return path.readlink() == target
    except OSError:
        return False


@pytest.mark.slow
def test_another_version_of_the_code_reruns_every_stage(
    finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, stages = finished[0], set(demo.STAGES)
    demo.prepare_folder(folder)
    assert would_run(folder) == set()
    monkeypatch.setattr("frcnn.__version__", "9")
    demo.prepare_folder(folder)
    assert would_run(folder) == stages


def test_the_folder_is_a_project_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo.prepare_folder(folder)
    assert "no_scm = true" in (folder / ".dvc" / "config").read_text()
    assert (folder / ".dvcignore").read_text() == (ROOT / ".dvcignore").read_text()
    assert (folder / "params.yaml").read_text() == commented_params("demo")
    assert (folder / "params.schema.json").read_text() == (ROOT / "params.schema.json").read_text()
    (folder / "params.yaml").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    demo.prepare_folder(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not any(path.is_symlink() for path in folder.rglob("*"))


def test_the_framework_is_written_to_a_new_folders_parameters(tmp_path: Path) -> None:
    demo.prepare_folder(tmp_path / "demo", "tensorflow")
    params = load_params(tmp_path / "demo" / "params.yaml")
    assert (params.train.framework, params.detect.framework) == ("tensorflow", "tensorflow")
    expected = load_params(Path("demo"), ["train.framework=tensorflow", "detect.framework=tensorflow"])
    assert params == expected
    demo.prepare_folder(tmp_path / "demo")
    with pytest.raises(UserError, match="has another train.framework than torch; edit it, or name another folder"):
        demo.prepare_folder(tmp_path / "demo", "torch")
    assert load_params(tmp_path / "demo" / "params.yaml") == params


@pytest.mark.parametrize("name", ["thesis.txt", "dvc.yaml"])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match="exists and is no demo"):
        demo.prepare_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
