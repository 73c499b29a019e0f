"""What `frcnn predict` reads: pictures, folders, globs, URLs, settings, thresholds; bad ones are a line each."""

from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from frcnn.colors import class_color
from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.params import Detect, Params
from stages import predict
from stages.commands import app
from tests.stages.predicting.calls import drawn, entries, run


def test_file(folder: Path, tmp_path: Path, asked: list, capsys: pytest.CaptureFixture) -> None:
    assert run(tmp_path, folder / "one.jpg") == [
        {
            "image": str(folder / "one.jpg"),
            "width": 600,
            "height": 500,
            "score_threshold": 0.7,
            "detections": [{"label": 2, "class": "wrench", "score": 0.875, "box": [150.0, 125.0, 450.0, 375.0]}],
        }
    ]
    settings = Detect(score_threshold=0.7)
    assert asked == [(Path("w.safetensors"), "cpu", "torch"), ([(600, 720, 3)], settings, "float32")]
    image = np.asarray(Image.open(tmp_path / "out/one.png"))
    assert tuple(image[250, 150]) == class_color(2)
    assert "detections.json: 1 picture, 1 detection with a score above 0.7; drawn in" in capsys.readouterr().out


def test_settings_of_the_parameter_file(folder: Path, tmp_path: Path, asked: list) -> None:
    """params.yaml counts where it exists, another file where it is named, and options replace the values of either."""

    def settings(**options: object) -> tuple[str, Detect]:
        asked.clear()
        predict.run([str(folder / "one.jpg")], out=tmp_path / "out", **options)
        (_, _, framework), (_, used, precision) = asked
        assert precision == used.precision
        return framework, used

    (tmp_path / "params.yaml").write_text("detect: {nms_threshold: 0.4, score_threshold: 0.1, framework: tensorflow}")
    (tmp_path / "other.yaml").write_text("detect: {max_detections: 7, precision: auto, batch_size: 3}")
    expected = Detect(nms_threshold=0.4, score_threshold=0.7, framework="tensorflow")
    assert settings() == ("tensorflow", expected)
    assert settings(framework=predict.FrameworkName.torch) == ("torch", expected)
    overrides = ["detect.nms_threshold=0.6", "detect.framework=torch"]
    assert settings(overrides=overrides) == ("torch", Detect(nms_threshold=0.6, score_threshold=0.7))
    other = Detect(max_detections=7, precision="auto", batch_size=3, score_threshold=0.2)
    assert settings(params_file=Path("other.yaml"), score_threshold="0.2") == ("torch", other)


@pytest.mark.parametrize("text", ["1.5", "-0.1", "nan", "best", ""])
def test_a_score_that_is_none(folder: Path, asked: list, text: str) -> None:
    with pytest.raises(UserError, match=rf"--score-threshold: {text} is neither a number from 0 to 1 nor auto"):
        predict.run([str(folder)], score_threshold=text)
    assert asked == []


@pytest.mark.parametrize(
    ("found", "why"), [(None, "it was trained without validation"), ({"F1": 0.0}, "nothing was detected in its")]
)
def test_no_score_of_the_best_f1(
    folder: Path, tmp_path: Path, params: Params, found: dict[str, float] | None, why: str
) -> None:
    write_weights(tmp_path / "w.safetensors", detector_config(["bolt", "wrench"], params), {}, {}, found)
    with pytest.raises(UserError, match=f"has no score for --score-threshold auto, since {why}"):
        predict.run([str(folder)], tmp_path / "w.safetensors", tmp_path / "out", "auto")
    assert not (tmp_path / "out").exists()


def test_a_parameter_file_that_is_named_and_missing(folder: Path, asked: list) -> None:
    with pytest.raises(UserError, match=r"none\.yaml"):
        predict.run([str(folder)], params_file=Path("none.yaml"))
    assert asked == []


def test_a_framework_that_is_none_is_a_mistake_of_usage(folder: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(folder), "--framework", "jax"])
    assert result.exit_code == 2
    assert "tensorflow" in result.output


def test_each_picture_is_a_batch(folder: Path, tmp_path: Path, asked: list, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path, folder)
    assert [len(shapes) for shapes, *_ in asked[1:]] == [1, 1]
    assert "2 pictures, 2 detections" in capsys.readouterr().out


def test_folder_and_glob_take_each_picture_once(folder: Path, tmp_path: Path) -> None:
    found = run(tmp_path, folder, folder / "*.jpg", folder / "one.jpg")
    assert [Path(entry["image"]).name for entry in found] == ["one.jpg", "two.PNG"]
    assert drawn(tmp_path) == ["one.png", "two.png"]


def test_name_with_brackets_is_a_file_first(folder: Path, tmp_path: Path) -> None:
    (folder / "one.jpg").rename(folder / "a[1].jpg")
    run(tmp_path, folder / "a[1].jpg")
    assert drawn(tmp_path) == ["a_1_.png"]


def test_url(server: str, tmp_path: Path) -> None:
    [entry] = run(tmp_path, f"{server}/some%20where/p.jpg?size=large")
    assert (entry["image"], entry["width"]) == (f"{server}/some%20where/p.jpg?size=large", 600)
    assert drawn(tmp_path) == ["p.png"]


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("{folder}/none.jpg", "no such file"),
        ("{folder}/*.gif", "no file matches"),
        ("{folder}/empty", "no picture in this folder"),
        ("{folder}/above", "--recursive reads the folders in it, too"),
        ("{folder}/notes.txt", "notes.txt"),
        ("{folder}/cut.jpg", "cut.jpg"),
        ("{server}/none.jpg", "404"),
        ("{server}/page", "/page"),
        ("{server}/huge", "larger than 100 MB"),
        ("{server}/away", "only http and https are opened"),
        ("{server}/short", "closed after"),
        ("{folder}/eps.jpg", "eps.jpg: unreadable picture: not a format that is known"),
        ("http://127.0.0.1:9/a.jpg", "cannot be fetched"),
        ("http://", "cannot be fetched"),
    ],
)
def test_bad_picture_is_one_line_and_the_others_are_done(
    folder: Path, server: str, tmp_path: Path, capsys: pytest.CaptureFixture, picture: str, words: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "above/below").mkdir(parents=True)
    (folder / "eps.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    (folder / "cut.jpg").write_bytes((folder / "one.jpg").read_bytes()[:700])
    bad = picture.format(folder=folder, server=server)
    with pytest.raises(typer.Exit) as caught:
        run(tmp_path, folder / "one.jpg", bad, folder / "two.PNG")
    assert caught.value.exit_code == 2
    assert len(entries(tmp_path)) == 2
    assert drawn(tmp_path) == ["one.png", "two.png"]
    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error:")
    assert words in line


def test_nothing_to_do_writes_nothing(folder: Path, tmp_path: Path, asked: list) -> None:
    with pytest.raises(typer.Exit):
        run(tmp_path, folder / "none.jpg")
    assert not (tmp_path / "out").exists()
    assert asked == []


@pytest.mark.filterwarnings("ignore::Warning:PIL")  # as the command does; pytest undoes it
def test_a_limit_of_pixels(folder: Path, tmp_path: Path) -> None:
    command = ["predict", str(folder), "--out", str(tmp_path / "out"), "--max-pixels"]
    result = CliRunner().invoke(app, [*command, "8000"])
    assert result.exit_code == 2
    assert "one.jpg: unreadable picture: 300,000 pixels, more than the limit of 8,000" in result.output
    assert [entry["width"] for entry in entries(tmp_path)] == [100]
    assert CliRunner().invoke(app, [*command, "300000"]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "0"]).exit_code == 2


def test_recursive(folder: Path, tmp_path: Path) -> None:
    for name in ("b/c/deep.jpg", "b/near.jpg", ".hidden/none.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(folder / name)
    assert len(run(tmp_path, folder)) == 2
    names = [Path(entry["image"]).relative_to(folder).as_posix() for entry in run(tmp_path, folder, recursive=True)]
    assert names == ["one.jpg", "two.PNG", "b/near.jpg", "b/c/deep.jpg"]
    with pytest.raises(typer.Exit):
        run(tmp_path, folder / "b/c/none")
