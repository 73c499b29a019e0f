import subprocess
from pathlib import Path

import pandas as pd
import pytest

from frcnn.detections.hdf5 import write_detections
from tests.factories import Command
from tests.report_project import NAMES, SCRIPT, nothing, some_detections, write_project

FILES = ["confusion.csv", "error_types.csv", "figures", "index.html", "measures.csv", "suspicious.csv"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_project(tmp_path / "now")
    monkeypatch.chdir(folder)
    return folder


def test_the_page_and_what_is_beside_it(project: Path, frcnn: Command) -> None:
    assert frcnn("report") == (0, "data/report/index.html: 6 pictures, 6 shown; open it in a browser", "")
    report = project / "data" / "report"
    assert sorted(path.name for path in report.iterdir()) == FILES
    assert sorted(path.name for path in (report / "figures").iterdir()) == [
        "confusion.png", "error_types.png", "score_curves.png",
    ]  # fmt: skip
    table = pd.read_csv(report / "measures.csv")
    assert table["class"].tolist() == [SCRIPT, "'=R&D'\"", NAMES[2], "Mean"]
    assert table["AP_area"].iloc[0] == pytest.approx(5 / 6, abs=1e-6)
    before = {path: path.read_bytes() for path in report.rglob("*.*")}
    assert frcnn("report")[0] == 0
    assert {path: path.read_bytes() for path in report.rglob("*.*")} == before


def test_coco_results_and_a_folder_of_something_else(project: Path, frcnn: Command) -> None:
    write_detections(project / "d.json", some_detections())
    assert frcnn("report", "--detections", "d.json", "--out", "a")[0] == 0
    (project / "b").mkdir()
    (project / "b" / "holiday.png").write_bytes(b"precious")
    code, _, error = frcnn("report", "--out", "b")
    assert (code, "holds files of something else (no index.html)" in error) == (2, True)
    assert (project / "b" / "holiday.png").read_bytes() == b"precious"


def test_metrics_of_these_detections_only(project: Path, frcnn: Command) -> None:
    assert frcnn("evaluate", "-S", "evaluate.coco=true")[0] == 0
    assert frcnn("report")[1].count("\n") == 0
    assert "AR_100" in (project / "data/report/index.html").read_text()
    write_detections(project / "data/detections.h5", nothing())
    assert "of other detections, so its COCO measures are left out; run frcnn evaluate" in frcnn("report")[1]
    assert "AR_100" not in (project / "data/report/index.html").read_text()
    (project / "metrics/summary.json").write_text("[]")
    assert "not as `frcnn evaluate` writes it" in frcnn("report")[2]


def test_against_another_folder(project: Path, tmp_path: Path, frcnn: Command) -> None:
    write_project(tmp_path / "before", nothing())
    assert frcnn("report", "--against", "../before")[0] == 0
    table = pd.read_csv(project / "data/report/comparison.csv").set_index("class")
    assert table.loc[SCRIPT, ["AP_before", "AP_now"]].tolist() == pytest.approx([0, 5 / 6], abs=1e-6)
    assert 0 < table.loc[SCRIPT, "change_from"] < 5 / 6 < table.loc[SCRIPT, "change_to"]
    page = (project / "data/report/index.html").read_text()
    assert "Got better" in page
    assert "Got worse" not in page
    assert frcnn("report", "--against", ".")[0] == 0  # itself
    table = pd.read_csv(project / "data/report/comparison.csv").dropna()
    assert (table[["change_from", "change_to"]] == 0).all(axis=None)
    assert "Got better" not in (project / "data/report/index.html").read_text()


def test_against_a_revision(project: Path, frcnn: Command) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *words], cwd=project, check=True)

    assert frcnn("report", "--against", "HEAD") == (
        2, "", "error: --against HEAD: no folder, and no revision of a Git repository here; name one of them"
    )  # fmt: skip
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message", "x")
    assert "that revision has no metrics/ap_per_class.csv here" in frcnn("report", "--against", "HEAD")[2]
    assert frcnn("evaluate")[0] == 0
    git("add", "metrics")
    git("commit", "--quiet", "--message", "y")
    write_detections(project / "data/detections.h5", nothing())
    assert frcnn("report", "--against", "HEAD")[0] == 0
    table = pd.read_csv(project / "data/report/comparison.csv").set_index("class")
    assert list(table.columns) == ["AP_before", "AP_now"]
    assert table.loc[SCRIPT].tolist() == pytest.approx([5 / 6, 0], abs=1e-6)
    assert table.loc["Mean"].tolist() == pytest.approx([7 / 12, 0], abs=1e-6)
    assert "--output" not in frcnn("report", "--against", "--output=x")[1]
    assert not (project / "x").exists()


def test_another_split_is_refused(project: Path, frcnn: Command) -> None:
    code, _, error = frcnn("report", "--split", "trainval")
    assert (code, "detections on split 'test', not 'trainval'" in error) == (2, True)
