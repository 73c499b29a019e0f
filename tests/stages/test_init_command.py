"""`frcnn init`: a project whose parameters fit the data, in one go or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from frcnn.advice import timing
from frcnn.params import load_params
from frcnn.sources.synthetic import draw_dataset
from tests.factories import Command
from tests.stages.test_demo import environment


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of pictures with XML files beside them; no step is timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(timing, "time_training", lambda *_: timing.Timing(1.5, 20, 900.0, (160, 224), "cpu, float32"))
    draw_dataset(tmp_path / "drawn", 60, 0, 20, seed=2)
    folder = tmp_path / "Meine Fotos ü"
    folder.mkdir()
    for part in ("JPEGImages", "Annotations"):
        for path in (tmp_path / "drawn" / part).iterdir():
            path.rename(folder / path.name)
    return folder.name


def test_a_project_for_a_folder_of_pictures(photos: str, frcnn: Command) -> None:
    code, out, error = frcnn("init", "Projekt ü", "--data", photos, "--preset", "demo")
    assert (code, error) == (0, "")
    assert f"{photos}: VOC, 80 pictures" in out
    assert "Written to params.yaml, in place of the preset's values" in out
    assert "-S " not in out
    assert out.splitlines()[-1].startswith("Projekt ü: a project; next: cd 'Projekt ü' && dvc repro ")
    project = Path("Projekt ü")
    params = load_params(project / "params.yaml")
    assert params.download.source == str(Path(photos).absolute())
    assert params.train_phase1.epochs > load_params(Path("demo")).train_phase1.epochs  # few pictures
    text = (project / "params.yaml").read_text()
    assert "# Written by `frcnn init`: the preset demo, with what fits /" in text
    assert "The demo: 1,300" not in text
    assert yaml.safe_load((project / "dvc.yaml").read_text())["stages"]["download"]["deps"] == [
        "frcnn-version.txt",
        "${download.source}",
    ]
    assert (project / "data" / "dataset" / "classes.txt").exists()


def test_dvc_notices_a_corrected_source(photos: str, frcnn: Command) -> None:
    assert frcnn("init", "p", "--data", photos, "--preset", "demo")[0] == 0

    def dvc(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(command, cwd="p", capture_output=True, text=True, check=True, env=environment()).stdout

    path = f"PATH={Path(sys.executable).parent}"
    subprocess.run(
        ["env", path + ":/usr/bin:/bin", sys.executable, "-m", "dvc", "repro", "download"], cwd="p", check=True
    )
    assert "download" not in dvc("status", "download", "--json")
    next(Path(photos).glob("*.xml")).write_text("<annotation/>")
    assert "download" in dvc("status", "download", "--json")


def test_a_second_call_renews_and_asks_for_nothing(photos: str, frcnn: Command) -> None:
    assert frcnn("init", "p", "--data", photos, "--preset", "demo")[0] == 0
    (Path("p") / "params.yaml").write_text("mine")
    (Path("p") / "frcnn-version.txt").write_text("old")
    code, out, _ = frcnn("init", "p")
    assert (code, out) == (0, "p: renewed for this version of frcnn; your params.yaml stays as it is")
    assert (Path("p") / "params.yaml").read_text() == "mine"
    assert (Path("p") / "frcnn-version.txt").read_text() != "old"
    assert "${download.source}" in (Path("p") / "dvc.yaml").read_text()
    code, _, error = frcnn("init", "p", "--data", photos)
    assert code == 2
    assert error.startswith("error: p: is a project already; edit its params.yaml, or name another folder; to renew it")


def test_without_data_it_is_the_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frcnn: Command) -> None:
    monkeypatch.chdir(tmp_path)
    assert frcnn("init", "p", "--git")[0] == 0
    assert load_params(Path("p/params.yaml")) == load_params(Path("finetune"))
    assert Path("p/.git").is_dir()
    assert "no_scm" not in Path("p/.dvc/config").read_text()
    assert frcnn("init", "q", "--preset", "default")[0] == 0
    assert load_params(Path("q/params.yaml")) == load_params(Path("default"))
    assert "no_scm" in Path("q/.dvc/config").read_text()


def test_data_that_training_refuses_make_no_project(photos: str, frcnn: Command) -> None:
    next(Path(photos).glob("*.xml")).write_text("<annotation>")
    code, out, error = frcnn("init", "p", "--data", photos, "--preset", "demo")
    assert code == 2
    assert "malformed XML" in out
    assert error.endswith("no project is made of what training would refuse; mend it there, then run this again")
    assert not Path("p").exists()


def test_an_edit_in_the_dataset_leaves_the_source_alone_and_the_remedy_names_it(photos: str, frcnn: Command) -> None:
    assert frcnn("init", "p", "--data", photos, "--preset", "demo")[0] == 0
    first = Path("p/data/dataset/ImageSets/Main/trainval.txt").read_text().split()[0]
    path = Path("p/data/dataset/Annotations") / f"{first}.xml"
    before = (Path(photos) / path.name).read_text()
    path.write_text("<annotation>")
    assert (Path(photos) / path.name).read_text() == before
    code, _, error = frcnn("anchors", "--params", "p/params.yaml", "--dataset", "p/data/dataset", "--out", "a.h5")
    assert code == 2
    assert "(in download.source: `frcnn download` makes this folder anew)" in error
    _, out, _ = frcnn("check", "p/data/dataset", "--params", "p/params.yaml")
    assert "mend this in download.source: `frcnn download` makes p/data/dataset anew" in out


def test_git_ignores_what_is_made_where_it_ignored_something_before(photos: str, frcnn: Command) -> None:
    Path("p").mkdir()
    Path("p/.gitignore").write_text("*.log\n/data/\n")
    assert frcnn("init", "p", "--data", photos, "--preset", "demo")[0] == 0
    lines = Path("p/.gitignore").read_text().splitlines()
    assert lines[:2] == ["*.log", "/data/"]
    assert lines.count("/data/") == 1
    assert "/checkpoints/" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("p", "--data", "none"), "download.source: none is neither a path that exists nor a known name"),
        (("p", "--data", "empty"), "empty: no dataset: no picture"),
        (("p", "--preset", "paper"), "paper: no such preset; choose from default, demo, finetune, reference"),
        (("{photos}/p", "--data", "{photos}"), "overlap; name a folder elsewhere"),
        ((".", "--data", "data"), "overlap; name a folder elsewhere"),
        (("p", "--data", "file.json"), "is one file of a dataset; name the folder that holds it all"),
        (("file", "--preset", "demo"), "file: is a file; name a folder"),
        (("thesis", "--preset", "demo"), "thesis/params.yaml: exists, and thesis is no project of frcnn"),
    ],
)
def test_a_mistake_makes_no_project(photos: str, frcnn: Command, arguments: tuple[str, ...], message: str) -> None:
    Path("empty").mkdir()
    Path("data").mkdir()
    Path("file.json").write_text("{}")
    Path("file").write_text("")
    Path("thesis").mkdir()
    Path("thesis/params.yaml").write_text("mine")
    code, _, error = frcnn("init", *(each.format(photos=photos) for each in arguments))
    assert code == 2
    assert message in error
    assert not any(Path(name).exists() for name in ("p", f"{photos}/p", "params.yaml", "dvc.yaml"))
    assert Path("thesis/params.yaml").read_text() == "mine"
