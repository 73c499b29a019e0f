"""What `frcnn predict` writes: pictures and the list, in order, in constant memory, and whole if it is stopped."""

import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from frcnn import picture_sources
from frcnn.colors import class_color
from frcnn.errors import UserError
from frcnn.params import Data
from frcnn.result import Result
from stages import predict
from tests.factories import POSIX, ROOT
from tests.stages.predicting.calls import FakeDetector, drawn, entries, run


def test_equal_names_are_told_apart(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("one.png", "ONE.png"):
        Image.new("RGB", (9, 9)).save(other / name)
    assert len(run(tmp_path, folder / "one.jpg", other)) == 3
    assert drawn(tmp_path) == ["ONE_2.png", "one.png", "one_3.png"]


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


@POSIX
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


@POSIX
def test_a_name_that_is_no_text(folder: Path, tmp_path: Path) -> None:
    (folder / "one.jpg").rename(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg"))
    [entry, _] = sorted(run(tmp_path, folder), key=lambda entry: -entry["width"])
    assert os.fsencode(entry["image"]).endswith(b"/\xff.jpg")


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


def test_another_name_of_a_picture_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    """As IMG.PNG and IMG.png are, where the file system does not tell them apart."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/one.png").hardlink_to(folder / "one.jpg")
    with pytest.raises(UserError, match="one.png: would overwrite a picture to be read"):
        run(tmp_path, folder)


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
    assert max(held[250:]) - max(held[50:100]) < 500_000  # 200 results are 2 MB, what the fake detector notes 0.05 MB
