"""Anchor targets that the tests of training share."""

from pathlib import Path

import pytest

from stages.anchors import run as anchors_stage


@pytest.fixture(scope="session")
def anchors(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of the drawn dataset."""
    path = tmp_path_factory.mktemp("anchors") / "anchors.h5"
    anchors_stage(params_file=Path("demo"), overrides=None, dataset=dataset, out=path, workers=0)
    return path
