"""Anchor targets that the tests of training share."""

from pathlib import Path

import pytest
from networks import write_anchors

from frcnn.params import load_params


@pytest.fixture(scope="session")
def anchors(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of the drawn dataset."""
    return write_anchors(tmp_path_factory.mktemp("anchors") / "anchors.h5", dataset, load_params(Path("demo")))
