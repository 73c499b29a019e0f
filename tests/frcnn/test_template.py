"""A project of one's own: the pipeline depends on the version, the user's files stay, Git sees what it should."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

import frcnn
from frcnn.presets import commented_params
from frcnn.template import SOURCE, renew, watches_source, write_project
from tests.factories import ROOT

CODE = ROOT / "stages"


def stages_of(folder: Path) -> dict[str, dict[str, list[str]]]:
    return yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("watched", [False, True])
def test_the_pipeline_depends_on_the_version_instead_of_the_code(tmp_path: Path, watched: bool) -> None:
    write_project(tmp_path, commented_params("demo"), CODE, watch_source=watched)
    found, own = stages_of(tmp_path), stages_of(ROOT)
    assert list(found) == list(own)
    for stage, entries in found.items():
        data = [dependency for dependency in own[stage]["deps"] if dependency.startswith(("data/", "metrics/"))]
        source = [SOURCE] if watched and stage == "download" else []
        assert entries == own[stage] | {"deps": ["frcnn-version.txt", *source, *data]}
    version = (tmp_path / "frcnn-version.txt").read_text()
    assert re.fullmatch(rf"frcnn {frcnn.__version__}, SHA-256 of its code [0-9a-f]{{64}}\n", version)
    assert watches_source(tmp_path) == watched


def test_what_is_there_stays_and_what_belongs_to_the_version_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README.md", ".dvcignore", "params.yaml"):
        (tmp_path / name).write_text("mine")
    write_project(tmp_path, "parameters", CODE, git=True)
    assert {(tmp_path / name).read_text() for name in ("README.md", ".dvcignore", "params.yaml")} == {"mine"}
    assert "no_scm" not in (tmp_path / ".dvc" / "config").read_text()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr("frcnn.__version__", "9")
    renew(tmp_path, CODE, watch_source=True)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} == {"dvc.yaml", "frcnn-version.txt"}


def test_git_tracks_what_tells_of_a_result_and_not_the_result(tmp_path: Path) -> None:
    write_project(tmp_path, "parameters", CODE)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    ignored = ["data/anchors.h5", "checkpoints/phase1/x.pt", "predictions/a.png", ".frcnn-run.json", ".frcnn-run.lock"]
    tracked = ["params.yaml", "dvc.yaml", "dvc.lock", "metrics/summary.json", "frcnn-version.txt", ".dvc/config"]
    command = ["git", "check-ignore", *ignored, *tracked]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ignored
