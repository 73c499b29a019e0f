"""Which images a detector takes, and what it says of others."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from frcnn.errors import UserError
from frcnn.images import to_array
from frcnn.predictor import Predictor
from tests.factories import ROOT, FolderHandler, serve
from tests.frcnn.predictor.fake_network import HEIGHT, WIDTH


def test_one_image(detector: Predictor, array: np.ndarray) -> None:
    result = detector(array)
    np.testing.assert_allclose(result.boxes, [[0, 0, 20, 30], [0, 0, 40, 10]])
    np.testing.assert_allclose(result.scores, [0.8, 0.25])
    assert (result.labels.tolist(), result.names, len(result)) == ([1, 2], ["cat", "dog"], 2)
    assert (result.class_names, result.size) == (("cat", "dog"), (WIDTH, HEIGHT))
    assert detector.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "convert",
    [
        lambda array, path: path,
        lambda array, path: str(path),
        lambda array, path: Image.fromarray(array),
        lambda array, path: Image.open(path),
        lambda array, path: Image.fromarray(array).convert("RGBA"),
        lambda array, path: Image.fromarray(array).convert("P"),
        lambda array, path: array[:, ::-1][:, ::-1],
        lambda array, path: array / 255,
        lambda array, path: (array / 255).astype(np.float16),
        lambda array, path: torch.from_numpy(array).permute(2, 0, 1),
        lambda array, path: torch.from_numpy(array).permute(2, 0, 1) / 255,
        lambda array, path: torch.from_numpy(array).permute(2, 0, 1).double().div(255).requires_grad_(),
    ],
    ids=["Path", "str", "PIL", "opened", "RGBA", "palette", "view", "double", "half", "tensor", "float", "gradient"],
)
def test_the_same_image_of_any_type_gives_the_same(
    detector: Predictor, array: np.ndarray, path: Path, convert: Any
) -> None:
    image = convert(array, path)
    result = detector(image)
    assert result.image is image
    np.testing.assert_allclose(result.scores[0], 0.8)
    np.testing.assert_array_equal(to_array(image), array)


def test_url(detector: Predictor, path: Path) -> None:
    with serve(partial(FolderHandler, directory=str(path.parent))) as address:
        result = detector(f"{address}/picture.png")
        np.testing.assert_allclose(result.scores[0], 0.8)
        assert result.draw().size == detector(path).draw().size
        with pytest.raises(UserError, match=r"none\.png: cannot be fetched"):
            detector(f"{address}/none.png")


def test_turned_pictures_are_upright_as_a_file_and_as_an_image(
    detector: Predictor, array: np.ndarray, path: Path
) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(array).save(path, exif=tags)
    with Image.open(path) as image:
        assert detector(path).size == detector(image).size == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(to_array(image), np.rot90(array, -1))
        assert image.size == (WIDTH, HEIGHT)
        assert image.getexif()[0x0112] == 6


def test_levels_of_floating_point_round_to_the_nearest() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    for image in (levels / 255, (levels / 255).astype(np.float32), (levels / 255).astype(np.float16)):
        np.testing.assert_array_equal(to_array(image), levels)


def test_half_precision_tensors(detector: Predictor, array: np.ndarray) -> None:
    pixels = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert np.abs(to_array(pixels.to(dtype)).astype(int) - array).max() <= 1


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (
            lambda a: a[..., 0],
            ValueError,
            r"\(30, 40\) is no image \(H, W, 3\) in RGB; repeat gray three times: np.dst",
        ),
        (lambda a: a[..., :1], ValueError, r"\(30, 40, 1\) is no .* repeat gray three times: np.dstack"),
        (lambda a: np.dstack([a, a[..., :1]]), ValueError, r"drop the transparency: image\[\.\.\., :3\]"),
        (lambda a: a[None], ValueError, r"pass several images as a list: list\(images\)"),
        (lambda a: a.transpose(2, 0, 1), ValueError, r"move the channels: image\.transpose\(1, 2, 0\)"),
        (lambda a: np.dstack([a, a]), ValueError, r"\(30, 40, 6\) .* pass one with three channels"),
        (lambda a: a[:0], ValueError, "it is empty"),
        (lambda a: a.astype(np.int64), TypeError, "an array of int64 is no image; convert it to uint8 from 0 to 255"),
        (lambda a: a > 9, TypeError, "an array of bool is no image"),
        (lambda a: a.astype(float), ValueError, "numbers from 0 to 255 is no image; pass 0 to 1, or uint8 from 0 to"),
        (lambda a: a / 255 - 0.5, ValueError, r"numbers from -0\.5 to 0\.5 is no image; .* do not normalize"),
        (lambda a: a * np.nan, ValueError, "numbers from nan to nan"),
        (lambda a: torch.from_numpy(a), ValueError, r"a tensor .* \(3, H, W\) .* image\.permute\(2, 0, 1\)"),
        (lambda a: torch.zeros(4, 9, 9), ValueError, r"drop the transparency: image\[:3\]"),
        (lambda a: torch.zeros(9, 9), ValueError, r"repeat gray three times: image\.expand\(3, -1, -1\)"),
        (lambda a: torch.zeros(2, 3, 9, 9), ValueError, "pass several images as a list"),
        (lambda a: "none.jpg", UserError, r"^none\.jpg: no such picture$"),
        (lambda a: Path("none.jpg"), UserError, r"^none\.jpg: no such picture$"),
        (lambda a: str(ROOT), UserError, "a folder; pass a list of its pictures"),
        (lambda a: ROOT / "README.md", UserError, "README.md: unreadable picture: not a format that is known"),
        (lambda a: Image.new("F", (9, 9)), UserError, "its pixels are floating-point numbers"),
        (lambda a: None, TypeError, "an image is a path, .* not NoneType; pass several as a list"),
        (lambda a: b"bytes", TypeError, "not bytes"),
        (lambda a: {"image": a}, TypeError, "not dict"),
        (lambda a: (each for each in [a]), TypeError, "not generator; pass several as a list"),
    ],
)
def test_what_is_no_image_is_one_sentence(
    detector: Predictor, array: np.ndarray, make: Any, kind: type[Exception], words: str
) -> None:
    for wrong in (make(array), [array, make(array)]):
        with pytest.raises(kind, match=words) as caught:
            detector(wrong)
        assert "\n" not in str(caught.value)
