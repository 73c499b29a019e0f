import numpy as np
import pytest

from frcnn.colors import PALETTE, class_color

# Machado, Oliveira and Fernandes 2009, table 1, severity 1.0, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
# IEC 61966-2-1: linear RGB to XYZ, with the white of D65.
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def seen(colors: np.ndarray, vision: str) -> np.ndarray:
    """Return sRGB colors (n, 3) as CIELAB (n, 3) that somebody of this vision sees."""
    values = np.asarray(colors) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.transpose(VISIONS[vision]), 0, 1) @ XYZ.T / XYZ.sum(1)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * 841 / 108 + 4 / 29).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def least_distance(colors: np.ndarray, vision: str) -> float:
    lab = seen(colors, vision)
    distances = np.linalg.norm(lab[:, None] - lab, axis=2)
    return float(distances[~np.eye(len(lab), dtype=bool)].min())


def test_cielab_is_computed_as_defined() -> None:
    """White and red of sRGB, from the tables of B. Lindbloom; to a dichromat red and a certain green are alike."""
    np.testing.assert_allclose(seen(np.array([[255, 255, 255], [255, 0, 0]]), "normal")[0], (100, 0, 0), atol=0.1)
    np.testing.assert_allclose(seen(np.array([[255, 0, 0]]), "normal")[0], (53.24, 80.09, 67.20), atol=0.1)


@pytest.mark.parametrize("vision", VISIONS)
def test_classes_are_told_apart(vision: str) -> None:
    """A distance of 2.3 is just noticeable side by side; tab10 has 4.6 for protanopia."""
    assert least_distance(np.array(PALETTE), vision) > 16


def test_twenty_classes_then_again() -> None:
    colors = [class_color(label) for label in range(1, 41)]
    assert len(set(colors)) == 20
    assert colors[:20] == colors[20:]
