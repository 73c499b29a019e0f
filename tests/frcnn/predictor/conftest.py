"""A detector whose network knows what it finds, and an image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.params import Detect
from frcnn.predictor import Predictor
from tests.frcnn.predictor.fake_network import HEIGHT, WIDTH, FakeNetwork


@pytest.fixture
def detector() -> Predictor:
    return Predictor(FakeNetwork(), Detect(batch_size=2))


@pytest.fixture
def array() -> np.ndarray:
    """Red at the left, blue at the right."""
    array = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    array[:, :20, 0], array[:, 20:, 2] = 204, 255
    return array


@pytest.fixture
def path(array: np.ndarray, tmp_path: Path) -> Path:
    Image.fromarray(array).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"
