import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from frcnn.data.lookalikes import Fingerprint, fingerprint, look_alike_groups, near_duplicates
from frcnn.sources.shapes import draw_picture


def drawn(seed: int) -> Image.Image:
    return Image.fromarray(draw_picture(np.random.default_rng(seed))[0])


def plain(seed: int) -> Image.Image:
    """A rectangle of some color somewhere on a plain ground."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (100, 80), tuple(rng.integers(0, 256, 3).tolist()))
    width, height = rng.integers(10, 50, 2).tolist()
    x, y = int(rng.integers(100 - width)), int(rng.integers(80 - height))
    color = tuple(rng.integers(0, 256, 3).tolist())
    ImageDraw.Draw(picture).rectangle((x, y, x + width, y + height), fill=color)
    return picture


def sky(seed: int) -> Image.Image:
    """A gradient under noise, with a small dark shape somewhere."""
    rng = np.random.default_rng(seed)
    gray = np.linspace(rng.uniform(60, 160), rng.uniform(140, 250), 120)[:, None] + rng.normal(0, 3, (120, 160))
    picture = Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert("RGB")
    x, y = rng.uniform(0, 120), rng.uniform(0, 100)
    ImageDraw.Draw(picture).ellipse((x, y, x + 40, y + 15), fill=(30, 30, 30))
    return picture


def saved(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def alike(*pictures: Image.Image) -> set[tuple[int, int]]:
    pairs = near_duplicates([fingerprint(picture) for picture in pictures])
    return {(min(pair), max(pair)) for i, j in pairs for pair in zip(i.tolist(), j.tolist(), strict=True)}


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": lambda picture: saved(picture, 75),
    "half as large": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "twice as large": lambda picture: picture.resize((picture.width * 2, picture.height * 2)),
    "a little brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.05),
    "moved by a hundredth": lambda picture: picture.crop((2, 0, picture.width, picture.height)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_looks_alike(change: str) -> None:
    pictures = [drawn(seed) for seed in range(8)]
    copies = [CHANGES[change](picture) for picture in pictures]
    assert alike(*pictures, *copies) == {(i, i + 8) for i in range(8)}


def square(seed: int) -> Image.Image:
    """A red rectangle somewhere on gray."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (100, 80), "gray")
    width, height = rng.uniform(8, 40, 2)
    x, y = rng.uniform(0, 100 - width), rng.uniform(0, 80 - height)
    ImageDraw.Draw(picture).rectangle((x, y, x + width, y + height), fill="red")
    return picture


@pytest.mark.parametrize("draw", [drawn, plain, square, sky])
def test_different_pictures_do_not(draw: Callable[[int], Image.Image]) -> None:
    assert alike(*(draw(seed) for seed in range(100))) == set()


def test_plain_pictures_are_alike_only_if_they_are_equal() -> None:
    colors = ["teal", "teal", "navy", "white"]
    pictures = [Image.new("RGB", (100, 80), color) for color in colors]
    assert alike(*pictures) == set()
    assert look_alike_groups([fingerprint(picture) for picture in pictures]).tolist() == [0, 0, 2, 3]
    turned = Image.new("RGB", (80, 100), "teal")
    assert fingerprint(turned).digest != fingerprint(pictures[0]).digest


def test_mirror_images_do_not_look_alike() -> None:
    assert alike(drawn(1), drawn(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == set()


def test_no_picture_and_one() -> None:
    assert alike() == set()
    assert alike(drawn(1)) == set()
    assert look_alike_groups([]).tolist() == []


def test_groups_hold_what_is_alike_by_a_detour() -> None:
    """The pairs of a chain, as of a camera that moves, and a thousand equal ones, more than are compared at once."""
    rng = np.random.default_rng(1)
    wide = np.asarray(Image.fromarray(rng.integers(0, 256, (14, 30, 3), np.uint8)).resize((600, 280)))
    chain = [Image.fromarray(wide[:, start : start + 280]) for start in range(0, 30, 2)]
    pairs = alike(*chain)
    assert (0, 1) in pairs
    assert (0, 14) not in pairs
    prints = [fingerprint(drawn(1)), *map(fingerprint, chain), *[fingerprint(drawn(2))] * 1000]
    prints = [Fingerprint(str(i).encode(), each.cells) for i, each in enumerate(prints)]
    assert look_alike_groups(prints).tolist() == [0, *[1] * 15, *[16] * 1000]
