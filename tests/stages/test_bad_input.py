"""Bad input: exit code 2, one line on stderr that helps, and every file as it was."""

import errno
import hashlib
import os
import shlex
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from frcnn.data.voc.problems import MARKER
from frcnn.params import PRESETS, Params
from stages.anchors import run as anchors_stage
from tests.factories import Command, edited, options, voc_object, write_random_weights, write_voc

ARCHIVE = Path("set.tar")


@pytest.fixture(scope="module")
def finished(dataset: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which every stage has left its files (the network is random)."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy(PRESETS / "demo.yaml", folder / "params.yaml")
    shutil.copytree(dataset, folder / "data" / "dataset")
    (folder / "data" / "dataset" / MARKER).touch()
    anchors_stage(folder / "params.yaml", ["model.width=16"], dataset, folder / "data" / "anchors.h5", workers=0)
    for phase in (1, 2):
        write_random_weights(folder / "data" / "models" / f"phase{phase}.safetensors", dataset, params)
    (folder / "metrics").mkdir()
    (folder / "metrics" / "summary.json").write_text("{}")
    with tarfile.open(folder / ARCHIVE, "w") as tar:
        tar.add(dataset, "VOCdevkit/Set")
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder, to be spoilt."""
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    return folder


def snapshot(folder: Path) -> dict[str, str]:
    """Return the digest of every file that is neither scratch nor a lock."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "checkpoints" not in path.parts]
    files = [path for path in files if path.suffix != ".lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def nothing(work: Path) -> None:
    """Spoil nothing."""


def remove(path: str) -> Callable[[Path], None]:
    def spoil(work: Path) -> None:
        target = work / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return spoil


def cut(path: str, size: int) -> Callable[[Path], None]:
    def spoil(work: Path) -> None:
        (work / path).write_bytes((work / path).read_bytes()[:size])

    return spoil


def zeroed(path: str) -> Callable[[Path], None]:
    """Fill a block with zeros, as a file system may after a crash; libhdf5 would search it for ever."""

    def spoil(work: Path) -> None:
        content = bytearray((work / path).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 512] = bytes(512)
        (work / path).write_bytes(content)

    return spoil


def write(path: str, text: str) -> Callable[[Path], None]:
    def spoil(work: Path) -> None:
        (work / path).write_text(text)

    return spoil


def escaping_archive(work: Path) -> None:
    with tarfile.open(work / ARCHIVE, "a") as tar:
        tar.add(work / "params.yaml", "../evil.yaml")


def other_version(work: Path) -> None:
    with edited(work / "data/anchors.h5") as file:
        file.attrs["version"] = 0


def file_in_the_way(work: Path) -> None:
    shutil.rmtree(work / "metrics")
    (work / "metrics").write_text("no folder")


def empty_annotations(work: Path) -> None:
    for path in (work / "data/dataset/Annotations").iterdir():
        path.write_text("<annotation/>")


def unfit_weights(work: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, work / "w.pth")


PICTURE, XML = "data/dataset/JPEGImages/test_00002.jpg", "data/dataset/Annotations/train_00003.xml"
SMALL = "-S model.width=16"
TRAIN = f"train --phase 1 {SMALL} -S train_phase1.epochs=1 --device cpu"
DOWNLOAD = f"download -S download.source={ARCHIVE}"
CASES = {
    "no params file": (nothing, "anchors --params none.yaml", "none.yaml: No such file"),
    "mistyped parameter": (nothing, "anchors -S anchors.anchor_size=3", "no parameter anchors.anchor_size"),
    "wrong type": (nothing, "anchors -S train.batch_size=x", "train.batch_size is 'x'; it must be a whole number"),
    "no dataset": (remove("data/dataset"), "anchors", "classes.txt: no such file; run `frcnn download`"),
    "no split": (nothing, "anchors -S splits.train=foo", "foo.txt: no such split"),
    "empty split": (write("data/dataset/ImageSets/Main/trainval.txt", "\n"), "anchors", "lists no image"),
    "no class list": (remove("data/dataset/classes.txt"), "detect", "classes.txt: no such file"),
    "class missing in the list": (
        write("data/dataset/classes.txt", "circle\n"),
        "anchors",
        "class rectangle is not in the class list",
    ),
    "malformed XML": (write(XML, "<annotation><object></annotation>"), "anchors", "train_00003.xml"),
    "no VOC annotation": (write(XML, "<root/>"), "anchors", "train_00003.xml: no VOC annotation: its root is <root>"),
    "nothing to learn": (empty_annotations, "anchors --workers 0", "no picture of this split shows an object to learn"),
    "no weights": (remove("data/models/phase2.safetensors"), "detect", "no such weights file"),
    "weights are something else": (write("data/models/phase2.safetensors", "text"), "detect", "not a readable weights"),
    "truncated weights": (cut("data/models/phase2.safetensors", 5000), "detect", "not a readable weights file"),
    "initial weights missing": (nothing, f"{TRAIN} -S model.weights=none.pth", "none.pth: no such file"),
    "initial weights unfit": (unfit_weights, f"{TRAIN} -S model.weights=w.pth", "w.pth: does not fit the model"),
    "initial weights of another digest": (
        unfit_weights,
        f"{TRAIN} -S model.weights=w.pth -S model.weights_sha256=00ff",
        "model.weights_sha256 expects 00ff",
    ),
    "weights of another backbone": (
        nothing,
        f"train --phase 2 {SMALL} -S model.backbone=resnet34 --device cpu",
        'trained with model.backbone "resnet18", now "resnet34"',
    ),
    "weights of other classes": (write("data/dataset/classes.txt", "a\nb\n"), "detect", "trained on other classes"),
    "phase 2 without phase 1": (
        remove("data/models/phase1.safetensors"),
        f"train --phase 2 {SMALL} --device cpu",
        "run `frcnn train --phase 1` first",
    ),
    "no anchors file": (remove("data/anchors.h5"), TRAIN, "anchors.h5: no such file; run `frcnn anchors`"),
    "anchors of other parameters": (
        nothing,
        f"{TRAIN} -S anchors.rpn_positive_iou=0.6",
        "made with anchors.rpn_positive_iou 0.7, now 0.6",
    ),
    "anchors of another dataset": (
        write(XML, "<annotation></annotation>"),
        TRAIN,
        'anchors.h5: made with dataset "',
    ),
    "anchors of another version": (other_version, TRAIN, "not an anchors file of version"),
    "truncated anchors": (
        cut("data/anchors.h5", 3000),
        TRAIN,
        "anchors.h5: damaged, cut off, or not a file of this version",
    ),
    "zeroed anchors": (zeroed("data/anchors.h5"), TRAIN, "anchors.h5: damaged, cut off, or not a file of this version"),
    "truncated picture": (cut(PICTURE, 900), "detect --device cpu", "test_00002.jpg"),
    "unreadable picture": (write(PICTURE, "no picture"), "detect --device cpu", "test_00002.jpg"),
    "missing picture": (remove(PICTURE), "detect --device cpu", "no picture of test_00002"),
    "no CUDA": (nothing, "detect --device cuda:63", "CUDA devices; use --device cpu"),
    "no device": (nothing, "detect --device gpu", "not a device; use cpu, cuda, cuda:N, mps or auto"),
    "no detections": (nothing, "evaluate", "detections.h5"),
    "source is nothing known": (nothing, "download -S download.source=voc2005", "voc2005"),
    "truncated archive": (cut(str(ARCHIVE), 40000), DOWNLOAD, "set.tar"),
    "wrong checksum": (nothing, f"{DOWNLOAD} -S 'download.sha256={{set.tar: ab12}}'", "expected ab12"),
    "archive that escapes": (escaping_archive, DOWNLOAD, "../evil.yaml"),
    "output cannot be written": (file_in_the_way, f"{TRAIN} --fresh", "metrics/train_phase1.csv: cannot be written"),
    "no picture to predict": (nothing, "predict none.jpg --device cpu", "none.jpg"),
}


@pytest.mark.parametrize(("spoil", "arguments", "message"), CASES.values(), ids=CASES.keys())
def test_bad_input(work: Path, frcnn: Command, spoil: Callable[[Path], None], arguments: str, message: str) -> None:
    spoil(work)
    before = snapshot(work)
    code, _, stderr = frcnn(*shlex.split(arguments))
    assert message in stderr
    assert stderr.startswith("error: ")
    assert "\n" not in stderr
    assert code == 2
    assert snapshot(work) == before


def test_every_wrong_parameter_is_a_line(work: Path, frcnn: Command) -> None:
    code, _, stderr = frcnn(*["anchors", "-S", "data.min_size=0", "-S", "train.batch_size=x"])
    assert code == 2
    assert stderr.splitlines() == [
        "error: params.yaml: data.min_size is 0; it must be at least 1",
        "error: params.yaml: train.batch_size is 'x'; it must be a whole number",
    ]


@pytest.mark.parametrize(
    "arguments",
    ["anchors -S model.width=16 --workers 0", f"{TRAIN} --fresh", DOWNLOAD, "detect --device cpu"],
    ids=["anchors", "train", "download", "detect"],
)
def test_a_full_disk(work: Path, frcnn: Command, monkeypatch: pytest.MonkeyPatch, arguments: str) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = snapshot(work)
    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(os, "rename", full)
    code, _, stderr = frcnn(*shlex.split(arguments))
    assert (code, "No space left on device" in stderr, "\n" in stderr) == (2, True, False)
    monkeypatch.undo()
    assert snapshot(work) == before


@pytest.mark.parametrize(
    "arguments", ["anchors -S model.width=16 --workers 0", f"{TRAIN} --fresh"], ids=["anchors", "train"]
)
def test_a_disk_that_fills_up_while_writing(
    work: Path, frcnn: Command, monkeypatch: pytest.MonkeyPatch, arguments: str
) -> None:
    resource = pytest.importorskip("resource")
    before = snapshot(work)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # bytes a file: writing more fails half-way
    try:
        code, _, stderr = frcnn(*shlex.split(arguments))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, "cannot be written" in stderr, "\n" in stderr) == (2, True, False), stderr
    (work / "metrics" / "train_phase1.csv").unlink(missing_ok=True)  # whose rows were written before
    assert snapshot(work) == before
    assert not list(work.rglob("*.tmp"))


def test_check_asks_for_the_splits_of_the_parameters(work: Path, frcnn: Command) -> None:
    code, stdout, _ = frcnn("check", "-S", "splits.test=nope")
    assert code == 1
    assert "nope.txt" in stdout


def test_an_error_of_ours_exits_with_1(work: Path, frcnn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise ZeroDivisionError("by\nus")

    monkeypatch.setattr("frcnn.data.voc.dataset.read_names", broken)
    code, _, stderr = frcnn("anchors")
    assert code == 1
    assert stderr == "error: internal error: ZeroDivisionError: by us; run again with --debug for the traceback"
    with pytest.raises(ZeroDivisionError):
        frcnn("anchors", "--debug")


def test_a_non_finite_loss_names_the_picture(work: Path, frcnn: Command) -> None:
    code, _, stderr = frcnn(*f"{TRAIN} -S train_phase1.learning_rate=1e30 -S train.optimizer.name=sgd".split())
    assert code == 2
    assert "a loss is not finite" in stderr
    assert "train_0" in stderr or "val_0" in stderr


def test_a_feature_map_of_one_cell_in_a_batch_norm(
    tmp_path: Path, frcnn: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_voc(tmp_path / "data/dataset", {"a": voc_object(box=(3, 3, 12, 12))}, size=(16, 16))
    shutil.copy(PRESETS / "demo.yaml", "params.yaml")
    small = options(["model.width=16", "data.min_size=16", "data.max_size=16", "train_phase1.epochs=1"])
    assert frcnn("anchors", *small)[0] == 0
    code, _, err = frcnn("train", "--phase", "1", *small)
    assert (code, err.count("\n")) == (2, 0)
    assert err.startswith("error: data.min_size: the feature map of a batch has one cell, and model.norm: trained")
    larger = [each.replace("=16", "=32") for each in small]
    assert [frcnn("anchors", *larger)[0], frcnn("train", "--phase", "1", *larger)[0]] == [0, 0]
