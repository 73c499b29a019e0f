import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from frcnn import frameworks, picture_sources
from frcnn.colors import class_color
from frcnn.detections.detections import Detections
from frcnn.detector.config import detector_config
from frcnn.detector.weights_file import write_weights
from frcnn.errors import UserError
from frcnn.params import Data, Detect, Params
from frcnn.params.types import Framework, Precision
from frcnn.result import Result
from stages import predict
from stages.commands import app
from tests.factories import ROOT, QuietHandler, serve


class FakeDetector:
    """Finds a wrench in the middle of each picture; notes what it is asked."""

    config = SimpleNamespace(class_names=("bolt", "wrench"), data=Data(), postprocessing=None)
    resizes = False

    def __init__(self, asked: list[tuple]) -> None:
        self.asked = asked

    def detect(self, images: list[np.ndarray], settings: Detect, precision: Precision) -> list[Detections]:
        self.asked.append(([image.shape for image in images], settings, precision))
        height, width = images[0].shape[:2]
        box = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]], np.float32)
        return [Detections(box, np.array([0.875], np.float32), np.array([2]))]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple]:
    """Put the detector in place, in a folder without params.yaml; return what is asked of it."""
    asked: list[tuple] = []

    def load_detector(weights: Path, device: str, framework: Framework) -> FakeDetector:
        asked.append((weights, device, framework))
        return FakeDetector(asked)

    monkeypatch.setattr(frameworks, "load_detector", load_detector)
    monkeypatch.chdir(tmp_path)
    return asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures and what is none."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (600, 500), "grey").save(folder / "one.jpg")
    Image.new("L", (100, 80)).save(folder / "two.PNG")
    (folder / "notes.txt").write_text("no picture")
    (folder / "._one.jpg").write_text("companion of macOS")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            status = {"/none.jpg": 404, "/away": 302}.get(self.path, 200)
            body = b"<html>" if self.path == "/page" else (folder / "one.jpg").read_bytes()
            self.send_response(status)
            length = {"/huge": 1 << 40, "/short": len(body) + 1}.get(self.path, len(body))
            self.send_header("Content-Length", str(length))
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            self.wfile.write(body)

    with serve(Handler) as address:
        yield address


def run(tmp_path: Path, *pictures: object, **options: object) -> list[dict]:
    predict.run([str(each) for each in pictures], Path("w.safetensors"), tmp_path / "out", device="cpu", **options)
    return entries(tmp_path)


def entries(tmp_path: Path) -> list[dict]:
    return json.loads((tmp_path / "out/detections.json").read_text(encoding="utf-8"))


def drawn(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".png")


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


def test_equal_names_are_told_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("one.png", "ONE.png"):
        Image.new("RGB", (9, 9)).save(other / name)
    assert len(run(tmp_path, folder / "one.jpg", other)) == 3
    assert drawn(tmp_path) == ["ONE_2.png", "one.png", "one_3.png"]


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


def test_input_is_never_overwritten(folder: Path) -> None:
    Image.new("RGB", (9, 9)).save(folder / "small.png")
    before = (folder / "small.png").read_bytes()
    with pytest.raises(UserError, match="overwrite"):
        predict.run([str(folder)], out=folder)
    assert (folder / "small.png").read_bytes() == before


def test_output_that_cannot_be_written_stops_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/one.png").mkdir()
    (tmp_path / "out/one.png/file").touch()
    with pytest.raises(UserError, match=r"one.png: cannot be written"):
        run(tmp_path, folder)
    assert not (tmp_path / "out/detections.json").exists()


@pytest.mark.parametrize("stopped_by", [UserError("no space"), SystemExit(143), MemoryError()])
def test_results_so_far_are_on_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_by: BaseException
) -> None:
    [first] = run(tmp_path, folder / "one.jpg")
    [*_, second] = run(tmp_path, folder)
    assert not (tmp_path / "out" / predict.UNFINISHED).exists()
    seen: list[dict] = []
    work = predict._write

    def stop(*arguments: object) -> dict:
        if len(seen) == 2:
            raise stopped_by
        seen.append(work(*arguments))
        return seen[-1]

    monkeypatch.setattr(predict, "_write", stop)
    Image.new("L", (100, 80)).save(folder / "z.png")
    with pytest.raises(type(stopped_by)):
        run(tmp_path, folder)
    lines = (tmp_path / "out" / predict.UNFINISHED).read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [first, second]
    monkeypatch.setattr(predict, "_write", work)
    assert len(run(tmp_path, folder)) == 3
    assert not (tmp_path / "out" / predict.UNFINISHED).exists()


def test_a_full_disk_leaves_whole_lines(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    """No file may grow beyond 300 bytes: enough for one line and a half."""
    code = f"""
import resource, signal
from pathlib import Path
from frcnn.errors import UserError
from stages import predict
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for name in "abc":
    try: predict._append(Path({str(tmp_path / "lines")!r}), {{"image": name * 180}}, first=name == "a")
    except UserError as error: print(error)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert capfd.readouterr().out == f"{tmp_path / 'lines'}: cannot be written: No space left on device\n" * 2
    assert (tmp_path / "lines").read_text() == json.dumps({"image": "a" * 180}) + "\n"


def test_a_name_of_as_many_bytes_as_there_may_be(folder: Path, tmp_path: Path) -> None:
    name = "检" * 83 + "x"  # 250 bytes without its extension
    (folder / "one.jpg").rename(folder / f"{name}.jpg")
    assert len(run(tmp_path, folder)) == 2
    assert drawn(tmp_path) == ["two.png", f"{name[:66]}.png"]


def test_a_name_that_is_no_text(folder: Path, tmp_path: Path) -> None:
    (folder / "one.jpg").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))
    [entry, _] = sorted(run(tmp_path, folder), key=lambda entry: -entry["width"])
    assert os.fsencode(entry["image"]).endswith(b"/\xff.jpg")


@pytest.mark.filterwarnings("ignore::Warning:PIL")  # as the command does; pytest undoes it
def test_a_limit_of_pixels(folder: Path, tmp_path: Path) -> None:
    command = ["predict", str(folder), "--out", str(tmp_path / "out"), "--max-pixels"]
    result = CliRunner().invoke(app, [*command, "8000"])
    assert result.exit_code == 2
    assert "one.jpg: unreadable picture: 300,000 pixels, more than the limit of 8,000" in result.output
    assert [entry["width"] for entry in entries(tmp_path)] == [100]
    assert CliRunner().invoke(app, [*command, "300000"]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "0"]).exit_code == 2


def test_classes(folder: Path, tmp_path: Path, asked: list) -> None:
    run(tmp_path, folder, classes="bolt")
    assert [entry["detections"] for entry in entries(tmp_path)] == [[], []]
    run(tmp_path, folder, classes=" wrench,bolt")
    assert [len(entry["detections"]) for entry in entries(tmp_path)] == [1, 1]
    image = np.asarray(Image.open(tmp_path / "out/one.png"))
    assert tuple(image[250, 150]) == class_color(2)
    with pytest.raises(UserError, match="nut: no class of this detector; it knows bolt, wrench"):
        run(tmp_path, folder, classes="bolt,nut")


def test_jpeg(folder: Path, tmp_path: Path) -> None:
    run(tmp_path, folder, picture_format=predict.Format.jpg)
    with Image.open(tmp_path / "out/one.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (600, 500))
    assert drawn(tmp_path) == []
    with pytest.raises(UserError, match="one.jpg: would overwrite a picture to be read"):
        predict.run([str(folder)], out=folder, picture_format=predict.Format.jpg)


def test_json_only(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path, folder)
    with_pictures = (tmp_path / "out/detections.json").read_bytes()
    shutil.rmtree(tmp_path / "out")
    run(tmp_path, folder, json_only=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["detections.json"]
    assert (tmp_path / "out/detections.json").read_bytes() == with_pictures
    assert capsys.readouterr().out.endswith("2 detections with a score above 0.7\n")


def test_the_list_is_what_json_writes_with_an_indent_of_1(folder: Path, tmp_path: Path) -> None:
    found = run(tmp_path, folder)
    expected = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    assert (tmp_path / "out/detections.json").read_text(encoding="utf-8") == expected


def test_recursive(folder: Path, tmp_path: Path) -> None:
    for name in ("b/c/deep.jpg", "b/near.jpg", ".hidden/none.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(folder / name)
    assert len(run(tmp_path, folder)) == 2
    names = [Path(entry["image"]).relative_to(folder).as_posix() for entry in run(tmp_path, folder, recursive=True)]
    assert names == ["one.jpg", "two.PNG", "b/near.jpg", "b/c/deep.jpg"]
    with pytest.raises(typer.Exit):
        run(tmp_path, folder / "b/c/none")


def test_order_whatever_takes_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twelve pictures each third takes long to read; few are in memory at a time."""
    (tmp_path / "in").mkdir()
    for number in range(12):
        Image.new("RGB", (20 + number, 20)).save(tmp_path / f"in/{number:02}.png")
    read, written, most = picture_sources.read_input, predict._write, 0
    reading: set[str] = set()

    def slow(source: str, max_pixels: int | None = None) -> np.ndarray:
        nonlocal most
        reading.add(source)
        most = max(most, len(reading))
        time.sleep(0.05 if int(Path(source).stem) % 3 == 0 else 0)
        return read(source, max_pixels)

    def write(result: Result, target: Path, score: dict) -> dict:
        reading.remove(str(tmp_path / "in" / target.name))
        return written(result, target, score)

    monkeypatch.setattr(picture_sources, "read_input", slow)
    monkeypatch.setattr(predict, "_write", write)
    assert [entry["width"] for entry in run(tmp_path, tmp_path / "in")] == list(range(20, 32))
    assert 3 <= most <= 6


def test_memory_is_constant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python holds after 50 pictures is what it holds after 300, where each result has a long name."""
    (tmp_path / "in").mkdir()
    for number in range(300):
        Image.new("RGB", (9, 9)).save(tmp_path / f"in/{number:03}.png")
    append, held = predict._append, []

    def measure(path: Path, entry: dict, first: bool) -> None:
        append(path, entry | {"much": "x" * 10_000}, first)
        held.append(tracemalloc.get_traced_memory()[0])

    monkeypatch.setattr(predict, "_append", measure)
    monkeypatch.setattr(
        FakeDetector, "config", SimpleNamespace(**vars(FakeDetector.config) | {"data": Data(min_size=9)})
    )
    tracemalloc.start()
    try:
        run(tmp_path, tmp_path / "in", json_only=True)
    finally:
        tracemalloc.stop()
    assert len(held) == 300
    assert max(held[250:]) - max(held[50:100]) < 100_000  # 250 results with their pictures are 3 MB
