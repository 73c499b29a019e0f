"""Anchor targets that the tests of training share."""

from pathlib import Path

import pytest
from anchor_file import write_anchors

from frcnn.params import Params


@pytest.fixture(scope="session")
def anchors(params: Params, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets of the drawn dataset."""
    return write_anchors(params, dataset, tmp_path_factory.mktemp("anchors") / "anchors.h5")
