"""The coverage by the preset's anchors and by fitted ones."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import fitted


@pytest.mark.slow
def test_coverage_without_training(dataset: Path, tmp_path: Path) -> None:
    """Too few objects for `frcnn check --fit`, which proposes no sizes then; the search itself takes any number."""
    fitted.run(str(dataset), None, tmp_path / "work", tmp_path / "out.csv", train=False)
    table = pd.read_csv(tmp_path / "out.csv").fillna("")
    assert table["anchors"].tolist() == ["default", "fitted"]
    assert table["changes"][0] == ""
    assert table["changes"][1].startswith("anchors.anchor_sizes=[")
    assert table["IoU 0.5"][1] + table["IoU 0.7"][1] > table["IoU 0.5"][0] + table["IoU 0.7"][0]
