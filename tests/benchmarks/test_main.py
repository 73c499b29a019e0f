"""`python -m benchmarks`: the tables, the CSV file, wrong options; the script that calls it for a GPU."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from benchmarks import __main__ as bench
from benchmarks import measure
from frcnn.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "model.width=16", "train.precision=float32", "train.rpn.pre_nms_topk=150", "train.rpn.post_nms_topk=40",
    "train.roi.batch_size=8",
]  # fmt: skip
OPTIONS = {
    "params_file": Path("demo"), "overrides": SMALL, "size": "64x96", "batch": 2, "against": None, "repeats": 1,
    "only": ",".join(bench.PARTS), "images": 30, "device": "cpu", "workers": 0,
}  # fmt: skip
COLUMNS = ["part", "what", "unit", "median", "low", "high", "repeats"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply small matrices."""
    monkeypatch.setitem(measure.MATRIX_SIDE, "cpu", 64)


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    """The script of benchmarks/."""
    spec = importlib.util.spec_from_file_location("gpu", ROOT / "benchmarks" / "gpu.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(out: Path, **options: object) -> pd.DataFrame:
    """Call the command as a function; return what it wrote."""
    bench.run(out=out, **(OPTIONS | options))
    return pd.read_csv(out)


@pytest.mark.slow
def test_all_parts_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = run(tmp_path / "bench.csv")
    assert list(table.columns[:7]) == COLUMNS
    assert {"date", "cpu", "threads", "gpu", "torch", "backbone", "size", "batch"} < set(table.columns)
    assert list(table.part.unique()) == [
        "detection", "detection by part", "training step", "training step by part", "training from JPEG files",
        "loading a training sample", "labeling anchors", "average precision", "start-up",
    ]  # fmt: skip
    figures = table.set_index(["part", "what"])
    assert (table["median"] > 0).sum() == len(table) - 1  # only the number of loading processes is 0
    assert figures.loc[("training from JPEG files", "loading processes"), "median"] == 0
    assert (figures.low <= figures["median"]).all()
    assert (figures["median"] <= figures.high).all()
    assert figures.loc[("training from JPEG files", "data wait / step"), "median"] < 1
    step, flop = (figures.loc[("training step", what), "median"] for what in ("step", "arithmetic"))
    assert figures.loc[("training step", "achieved"), "median"] == pytest.approx(flop / step * 1000, rel=1e-3)
    assert figures.loc[("training step", "images per second"), "median"] == pytest.approx(2000 / step, rel=1e-3)
    printed = capsys.readouterr().out
    assert [line.split()[:1] for line in printed.splitlines()].count(["roi_pooling"]) == 2
    assert all(len(line) <= 80 for line in printed.splitlines()[1:-1])


def test_chosen_parts_and_options(tmp_path: Path) -> None:
    table = run(
        tmp_path / "some.csv",
        only="anchors,loading",
        overrides=[*SMALL, "model.backbone=resnet34"],
        size="96x64",
        repeats=3,
    )
    assert list(table.part.unique()) == ["loading a training sample", "labeling anchors"]
    [(backbone, size, batch)] = set(zip(table.backbone, table["size"], table.batch, strict=True))
    assert (backbone, size, batch) == ("resnet34", "96x64", 2)
    assert set(table[table.unit.isin(["ms", "1/s"])].repeats) == {3}


@pytest.mark.slow
def test_torchvision_stands_beside(gpu: ModuleType, tmp_path: Path) -> None:
    changes = ["model.width=64", "train.precision=bf16", "detect.post_nms_topk=4", "train.roi.batch_size=4"]
    more = {"overrides": [*SMALL, *changes], "batch": 1, "against": [bench.Rival.torchvision]}
    table = run(tmp_path / "b.csv", only="detection,training", **more)
    for part in ("detection", "training step"):
        figures = table[table.part == part].set_index("what")["median"]
        for name in ("torchvision float32", "torchvision autocast"):
            assert figures[f"{name} / frcnn"] == pytest.approx(figures[name] / figures["step"], rel=1e-3)
        assert figures["torchvision: arithmetic"] == pytest.approx(figures["arithmetic"], rel=0.01)
    measured = set(zip(table.part, table.what, strict=True))
    assert {(target.part, target.what) for target in gpu.TARGETS} <= measured
    assert {target.case for target in gpu.TARGETS} == {case.name for case in gpu.CASES}


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs pip install '.[tensorflow]'")
def test_tensorflow_stands_beside(tmp_path: Path) -> None:
    table = run(tmp_path / "b.csv", only="detection,training", against=[bench.Rival.tensorflow], repeats=2)
    for part in ("detection", "training step"):
        figures = table[table.part == part].set_index("what")["median"]
        name = "tensorflow float32"
        assert figures[f"{name} / frcnn"] == pytest.approx(figures[name] / figures["step"], rel=1e-3)


def test_the_height_comes_first() -> None:
    assert bench._parse_size("600x800") == (800, 600)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": "training,speed"}, "no part is called 'speed'; choose from detection, training"),
        ({"size": "600"}, "write HEIGHTxWIDTH"),
        ({"size": "600x-8"}, "write HEIGHTxWIDTH"),
        ({"size": "8x96"}, "no side below 16 pixels"),
        ({"overrides": ["model.backbone=resnet7"]}, "model.backbone is 'resnet7'; choose from"),
        ({"against": [bench.Rival.torchvision], "only": "detection"}, "no ResNet of model.width 16"),
    ],
)
def test_wrong_options_write_nothing(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(tmp_path / "bench.csv", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_a_case(gpu: ModuleType, tmp_path: Path) -> None:
    case = gpu.Case("small", "resnet18", 1, "anchors")
    more = ["--device", "cpu", "--params", "demo", "--size", "64x96", "--repeats", "1"]
    table = gpu.run_case(case, tmp_path, more)
    assert list(table.what) == ["one image and its mirror image", "images per second and core"]
    assert set(table.case) == {"small"}
    assert set(table.precision) == {"bfloat16"}
    assert gpu.run_case(case, tmp_path, [*more, "--size", "no"]) is None


def test_the_script_compares_with_the_targets(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def figure(case: str, part: str, what: str, value: float) -> pd.DataFrame:
        row = {"case": case, "part": part, "what": what, "median": value, "low": value, "high": value}
        return pd.DataFrame([row])

    step = figure("vgg16-1", gpu.FILES, "images per second", 61)
    found = {
        "vgg16-1": pd.concat([step, figure("vgg16-1", "other", "x", 1)]),
        "vgg16-16": None,
        "resnet50-16": figure("resnet50-16", gpu.FILES, "images per second", 199),
        "resnet101-16": figure("vgg16-1", gpu.STEP, "peak memory", 4097),
    }
    monkeypatch.setattr(gpu, "run_case", lambda case, out, more: found[case.name])
    monkeypatch.setattr("sys.argv", ["gpu.py", "--out", str(tmp_path)])
    assert gpu.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-3:] for line in lines[1:-1]] == [
        [">=", "60", "reached"], [">=", "200", "MISSED"], ["<=", "4096", "MISSED"],
    ]  # fmt: skip
    assert lines[-1] == "failed: vgg16-16"
    assert len(pd.read_csv(tmp_path / "gpu.csv")) == 4
