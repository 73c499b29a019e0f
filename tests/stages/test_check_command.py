import shlex
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from frcnn import fonts
from frcnn.advice import machine, timing
from frcnn.colors import WHITE
from frcnn.errors import UserError
from frcnn.params import load_params
from frcnn.sources.synthetic import draw_dataset
from stages import check
from tests.factories import ROOT

PARAMS = ROOT / "params.yaml"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    draw_dataset(tmp_path / "dataset", 30, 2, 2, seed=1)  # ten objects of each class
    return tmp_path / "dataset"


def exit_code(dataset: Path, **options: object) -> int:
    try:
        check.run(dataset, PARAMS, None, workers=2, **options)
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_a_sound_dataset(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    assert exit_code(dataset) == 0
    out = capsys.readouterr().out
    assert "Problems" not in out
    assert "34 pictures, 4 splits, 6 classes; problems: none; training would take it" in out


def test_what_is_only_dropped_does_not_fail(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    with (dataset / "ImageSets/Main/trainval.txt").open("a") as file:
        file.write("train_00001\n")
    assert exit_code(dataset) == 0
    assert "problems: drop 1; training would take it" in capsys.readouterr().out


def test_a_folder_of_several_datasets_gets_a_report_for_each(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A split that one of them has is not missing, as `download` joins them."""
    for name, other in (("a/VOC", "test"), ("b/VOC", "trainval")):
        draw_dataset(tmp_path / "all" / name, 3, 1, 2, seed=1)
        (tmp_path / "all" / name / f"ImageSets/Main/{other}.txt").unlink()

    def verdicts() -> list[str]:
        return [
            line for line in capsys.readouterr().out.splitlines() if "training would t" in line or "refuse it" in line
        ]

    assert exit_code(tmp_path / "all") == 0
    first, second = verdicts()
    assert first.startswith(f"{tmp_path}/all/a/VOC: ")
    assert second.startswith(f"{tmp_path}/all/b/VOC: ")
    (tmp_path / "all/a/VOC/JPEGImages/train_00001.jpg").unlink()
    assert exit_code(tmp_path / "all") == 1
    first, second = verdicts()
    assert first.endswith("training would refuse it")
    assert second.endswith("training would take it")
    (tmp_path / "all/b/VOC/ImageSets/Main/test.txt").unlink()
    assert exit_code(tmp_path / "all") == 1
    assert all("refuse" in line for line in verdicts())


def test_what_is_no_dataset_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "voc.tar").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, words in (("voc.tar", "unpack"), ("empty", "no dataset in VOC layout"), ("none", "no such folder")):
        with pytest.raises(UserError, match=words) as caught:
            exit_code(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert len(caught.value.args) == 1


def test_every_problem_is_listed_with_its_place(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    for path in (dataset / "Annotations").iterdir():
        path.write_text("<annotation><object><name>[red]box</name></object></annotation>")
    (dataset / "JPEGImages/test_00001.jpg").unlink()
    assert exit_code(dataset) == 1
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if "object 1 ([red]box)" in line]
    assert len(rows) == 33 * 2  # no box and an unknown class, each
    assert all("Annotations/" in row and "refuse" in row for row in rows)
    assert any("JPEGImages/test_00001.*" in line and "no such picture" in line for line in lines)
    totals = [line.split()[:5] for line in lines[lines.index(next(li for li in lines if "by kind" in li)) :]]
    assert ["missing", "picture", "refuse", "1", "add"] in totals
    assert ["unknown", "class", "refuse", "33", "add"] in totals
    assert lines[-1].endswith("training would refuse it")


def test_the_figures_of_the_training_split(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    """Objects of at most 100 px on pictures that become 3.75 times as large, with the paper's anchors."""
    assert exit_code(dataset) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[lines.index(next(li for li in lines if "after resizing" in li)) : -1])) <= 110
    figures = "\n".join(lines)
    for words in ("64 to 128", "2:3 to 3:2", "circle", "anchor coverage: of ", "median object: ", "padding: 0.0%"):
        assert words in figures


def test_no_figures_of_a_split_that_shows_nothing(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    for path in (dataset / "Annotations").iterdir():
        path.write_text("<annotation></annotation>")
    assert exit_code(dataset) == 1
    assert "anchor coverage" not in capsys.readouterr().out


def test_parameters_that_fit_can_be_pasted(
    dataset: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "time_training", lambda *_: timing.Timing(1.5, 200, 900.0, (160, 224), "cpu, float32"))
    monkeypatch.setattr(machine, "this_machine", lambda: machine.Machine(False, 8))
    check.run(dataset, PARAMS, ["model.weights=none", "model.freeze_at=0"], workers=2, fit=True)
    lines = capsys.readouterr().out.splitlines()
    (options,) = [line for line in lines if line.startswith("to try them: -S ")]
    params = load_params(PARAMS, shlex.split(options.removeprefix("to try them: "))[1::2])
    assert (params.train_phase1.epochs, params.train_phase2.epochs) == (71, 29)
    assert all(len(line) <= 80 for line in lines[lines.index("Proposals".ljust(80)) : lines.index(options)])
    assert "objects are too few to fit anchors to" in lines[-3]
    assert lines[-2].startswith("a training step of 4 images, 160 x 224 px: 1.50 s (cpu, float32), at most 900 MiB")
    assert lines[-1] == "an epoch of 200 steps: 5.0 min; 100 epochs: 8.3 h"


def test_notes_are_counted_and_the_first_few_shown(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    """Every picture of training is in test, too: 32 notes; a list that nobody uses is one note more."""
    lists = dataset / "ImageSets/Main"
    (lists / "test.txt").write_text((lists / "trainval.txt").read_text())
    (lists / "README.txt").write_text("Made with a tool.\n")
    assert exit_code(dataset) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "is in trainval, too" in line]) == 5
    assert any("and 27 more: image in training and test" in line for line in lines)
    totals = [line.split()[:8] for line in lines]
    assert ["image", "in", "training", "and", "test", "note", "32", "take"] in totals
    assert ["not", "used:", "missing", "picture", "note", "1", "add", "it,"] in totals
    assert lines[-1].endswith("problems: note 34; training would take it")


def test_without_a_class_list_download_comes_first(dataset: Path, capsys: pytest.CaptureFixture) -> None:
    (dataset / "classes.txt").unlink()
    assert exit_code(dataset) == 0
    assert capsys.readouterr().out.endswith("would take it once `frcnn download` has written classes.txt\n")


def test_annotations_are_drawn(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of training with their objects, as `frcnn render` chooses them, and an overview."""
    out = tmp_path / "checks"
    assert exit_code(dataset, render=3, renders=out) == 0
    said = capsys.readouterr().out
    assert f"{out}: 3 of 32 trainval pictures; {out}/overview.png shows them together\n" in said
    first = sorted(path.name for path in out.iterdir())
    assert len(first) == 4
    for path in out.iterdir():
        picture = np.asarray(Image.open(path))[:-24]  # without the legend
        assert np.all(picture == WHITE, axis=2).any()
    (dataset / "classes.txt").write_text("圓\ncross\nrectangle\nring\nstar\ntriangle\n")
    for path in (dataset / "Annotations").iterdir():
        path.write_text(path.read_text().replace("<name>circle<", "<name>圓<"))
    monkeypatch.setattr(fonts, "find_font", lambda text: None)
    assert exit_code(dataset, render=3, renders=out) == 0
    assert "no font has the letters: class 1 is 圓" in capsys.readouterr().out
    assert exit_code(dataset.parent, render=50, renders=out) == 0
    assert len(list((out / "dataset").iterdir())) == 33
