"""Pixels and boxes go the same way; what is drawn depends on seed, phase, epoch, image and transform alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.v2 import functional

from frcnn.data.augmentation import FILL, GEOMETRIC, LEAST_SIDE, LEAST_VISIBLE, NUMBERS, PHOTOMETRIC, augment
from frcnn.data.resizing.sizes import box_limit
from frcnn.params import Params, load_params
from frcnn.params.augment import RECIPES, Augment
from tests.factories import change

COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)])
RANGES: dict[str, list[float]] = {
    "zoom_out": [1, 3], "scale": [0.3, 2], "crop": [0.3, 1], "brightness": [0.8, 1.2], "contrast": [0.8, 1.2],
    "saturation": [0.5, 1.5], "hue": [-0.1, 0.1], "blur": [0.1, 1], "jpeg": [70, 100],
}  # fmt: skip
SHARES = np.array([[0.05, 0.1, 0.3, 0.6], [0.4, 0.5, 0.9, 0.95], [0.5, 0, 0.7, 0.3]])  # boxes, of a picture's sides
Result = tuple[np.ndarray, np.ndarray, list[int]]


def with_transforms(names: object, probability: float = 1, **ranges: list[float]) -> Params:
    """Return parameters with some transforms turned on."""
    texts = []
    for name in names:  # type: ignore[attr-defined]
        kind = "photometric" if name in PHOTOMETRIC else "geometric"
        ends = ranges.get(name, RANGES.get(name))
        texts.append(f"augment.{kind}.{name}={{probability: {probability}, " + (f"range: {ends}}}" if ends else "}"))
    return load_params(Path("demo"), texts)


def run(image: np.ndarray, boxes: object, params: Params, epoch: int = 0) -> Result:
    """Return what image 0 becomes in an epoch: its pixels, its boxes and the indices of their objects."""
    gt_boxes = np.array(boxes, np.float32).reshape(-1, 4)
    changed, moved = augment(image, gt_boxes, (image.shape[1], image.shape[0]), params, (1, epoch, 0))
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    left, kept = moved or (gt_boxes, np.arange(len(gt_boxes)))
    assert left.dtype == np.float32
    return changed, left, kept.tolist()


def picture(size: tuple[int, int], boxes: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return filled boxes on the gray that also fills what is around a picture."""
    image = np.full((size[1], size[0], 3), FILL, np.uint8)
    for (x1, y1, x2, y2), color in zip(boxes.astype(int), colors, strict=True):
        image[y1:y2, x1:x2] = color
    return image


def bounds(mask: np.ndarray) -> np.ndarray:
    """Return xyxy of the pixels that are set."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("vertical_flip", (12, 8), {(0, 6, 4, 8)}),
        ("rotate", (8, 8), {(0, 4, 2, 8), (4, 6, 8, 8), (6, 0, 8, 4)}),
    ],
)
def test_flips_and_rotations_by_hand(name: str, size: tuple[int, int], expected: set) -> None:
    """An object of 4 x 2 px at the upper left."""
    image, seen = picture(size, np.array([[0, 0, 4, 2]]), COLORS[:1]), set()
    for epoch in range(20):
        changed, boxes, _ = run(image, [0, 0, 4, 2], with_transforms([name]), epoch)
        np.testing.assert_array_equal(bounds((changed == COLORS[0]).all(-1)), boxes[0])
        seen.add(tuple(boxes[0].tolist()))
    assert seen == expected


def test_a_rotated_picture_is_seen_whole() -> None:
    """80 x 40 px rotated by 90 degrees are fitted in as 20 x 40."""
    image, seen = np.full((40, 80, 3), 255, np.uint8), set()
    for epoch in range(20):
        changed, boxes, _ = run(image, [0, 0, 80, 40], with_transforms(["rotate"]), epoch)
        np.testing.assert_array_equal(bounds(changed[..., 0] == 255), boxes[0])
        seen.add(tuple((boxes[0, 2:] - boxes[0, :2]).tolist()))
    assert seen == {(20, 40), (80, 40)}


@pytest.mark.parametrize("size", [(160, 120), (90, 150), (120, 120)], ids=str)
def test_every_object_is_where_its_pixels_are(size: tuple[int, int]) -> None:
    """Three objects of their own colors; all that moves together."""
    params, whole, left = with_transforms(GEOMETRIC, 0.6), np.round(SHARES * [*size, *size]), 0
    image = picture(size, whole, COLORS)
    for epoch in range(150):
        changed, boxes, kept = run(image, whole, params, epoch)
        far = np.abs(changed[..., None, :].astype(int) - np.concatenate([COLORS, [FILL]])).sum(-1)
        nearest = far.argmin(-1)  # halfway to the ground is the edge
        for box, index in zip(boxes, kept, strict=True):
            np.testing.assert_allclose(bounds(nearest == index), box, rtol=0, atol=1, err_msg=f"{epoch} {index}")
        left += len(kept)
    assert 150 < left < 400


def test_one_object_is_where_its_pixels_are_after_everything() -> None:
    """A white object on gray stays the brightest, whatever is done to colors."""
    params, box, left = with_transforms(NUMBERS, 0.5), np.array([[40, 30, 100, 90]]), 0
    image = picture((160, 120), box, np.full((1, 3), 255))
    for epoch in range(200):
        changed, boxes, kept = run(image, box, params, epoch)
        if kept:
            light = changed.min(-1).astype(int)
            inside = bounds(light >= (light.max() + light.min()) / 2)
            np.testing.assert_allclose(inside, boxes[0], rtol=0, atol=1, err_msg=str(epoch))
        left += len(kept)
    assert 100 < left < 200


# All at 80 x 80 px; an object of the whole picture is cut by enlarging, one of 10 px shrinks.
@pytest.mark.parametrize(
    ("box", "scale", "stays"),
    [
        ((0, 0, 80, 80), 2, True),  # a quarter is left
        ((0, 0, 80, 80), 2.5, False),
        ((20, 20, 30, 30), LEAST_SIDE / 10, True),
        ((20, 20, 30, 30), 0.15, False),
    ],
)
def test_an_object_stays_while_enough_can_be_seen(box: tuple, scale: float, stays: bool) -> None:
    image = picture((80, 80), np.array([box]), COLORS[:1])
    _, boxes, kept = run(image, [box], with_transforms(["scale"], scale=[scale, scale]))
    assert (kept == [0]) == (len(boxes) == 1) == stays
    assert LEAST_VISIBLE == 0.25


def test_a_crop_shows_an_object_and_without_any_still_happens() -> None:
    params, small = with_transforms(["crop"], crop=[0.3, 0.5]), [60, 40, 76, 56]
    image = picture((160, 160), np.array([small]), COLORS[:1])
    cropped = [run(image, small, params, epoch) for epoch in range(60)]
    assert all(kept == [0] for _, _, kept in cropped)
    assert sum(not np.array_equal(changed, image) for changed, _, _ in cropped) > 50  # else none was found
    image[:] = np.arange(160)[:, None]
    changed, boxes, kept = run(image, [], params)
    assert (boxes.shape, kept) == ((0, 4), [])
    assert not np.array_equal(changed, image)


@pytest.mark.parametrize(
    ("name", "ends", "color", "expected"),
    [
        ("brightness", [0.5, 0.5], (200, 100, 40), (100, 50, 20)),
        ("contrast", [0, 0], (200, 100, 40), (123, 123, 123)),
        ("saturation", [0, 0], (200, 100, 40), (123, 123, 123)),
        ("grayscale", None, (200, 100, 40), (123, 123, 123)),  # 0.299 R + 0.587 G + 0.114 B
        ("hue", [1 / 3, 1 / 3], (255, 0, 0), (0, 255, 0)),
        ("hue", [-1 / 3, -1 / 3], (255, 0, 0), (0, 0, 255)),
        ("blur", [2, 2], (200, 100, 40), (200, 100, 40)),
        ("jpeg", [95, 95], (90, 90, 90), (90, 90, 90)),
    ],
)
def test_colors_by_hand(name: str, ends: list[float] | None, color: tuple, expected: tuple) -> None:
    image = np.full((32, 32, 3), color, np.uint8)
    changed, boxes, kept = run(image, [1, 2, 3, 4], with_transforms([name], **({name: ends} if ends else {})))
    assert np.abs(changed.astype(int) - expected).max() <= (3 if name == "hue" else 1)
    assert (boxes.tolist(), kept) == ([[1, 2, 3, 4]], [0])


def test_colors_are_torchvisions() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    pillow, amounts = (
        Image.fromarray(image),
        {"brightness": 1.3, "contrast": 0.7, "saturation": 1.4, "hue": 0.1, "jpeg": 40},
    )
    for name, amount in amounts.items():
        function = getattr(functional, name, None) or getattr(functional, f"adjust_{name}")
        found = run(image, [], with_transforms([name], **{name: [amount, amount]}))[0]
        # Two steps of the hue: it rounds down, and takes 256 values for a turn where Pillow has 255.
        np.testing.assert_allclose(found, np.asarray(function(pillow, amount)), atol=12 if name == "hue" else 0, rtol=0)
    gray = run(image, [], with_transforms(["grayscale"]))[0]
    np.testing.assert_array_equal(gray, np.asarray(functional.rgb_to_grayscale(pillow, 3)))


def test_blur_and_compression_change_what_is_not_uniform() -> None:
    image = picture((64, 64), np.array([[20, 20, 40, 40]]), np.full((1, 3), 255))
    blurred, compressed = (run(image, [], with_transforms([name], **{name: [2, 2]}))[0] for name in ("blur", "jpeg"))
    assert 130 < blurred[30, 20, 0] < 245
    assert np.abs(compressed.astype(int) - image).max() > 20


def test_what_is_drawn_depends_on_epoch_and_transform_alone() -> None:
    whole, some, more = np.round(SHARES * [160, 120, 160, 120]), ["scale", "rotate"], ["brightness", "scale", "rotate"]
    image = picture((160, 120), whole, COLORS)
    before = image.copy()
    results = [run(image, whole, with_transforms(names), epoch) for names, epoch in ((some, 0), (more, 0), (some, 1))]
    again = run(image, whole, with_transforms(some))
    for one, other in zip(again, results[0], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(results[0][1], results[1][1])  # the boxes
    assert not np.array_equal(results[0][0], results[1][0])
    assert not np.array_equal(results[0][0], results[2][0])
    np.testing.assert_array_equal(image, before)


def test_nothing_happens_without_transforms_and_in_validation() -> None:
    image, boxes = np.zeros((20, 30, 3), np.uint8), np.array([[1, 2, 3, 4]], np.float32)
    for params, phase in ((load_params(Path("demo")), 1), (with_transforms(NUMBERS), 0)):
        changed, moved = augment(image, boxes, (30, 20), params, (phase, 0, 0))
        assert changed is image
        assert moved is None


def test_presets_and_the_keys_that_replace_theirs() -> None:
    everything = Augment.model_validate({"preset": "strong"} | with_transforms(NUMBERS).augment.model_dump())
    assert list(everything.transforms()) == list(NUMBERS)  # the order in which they are done is that of the file
    for preset, values in RECIPES.items():
        checked = load_params(Path("demo"), [f"augment.preset={preset}"]).augment
        assert checked.transforms() == values
        for name, (probability, *ends) in values.items():  # as if they were written in the file, they are in range
            assert with_transforms([name], probability, **({name: ends} if name in RANGES else {}))
    light = load_params(
        Path("demo"), ["augment.preset=light", "augment.geometric.scale={probability: 0, range: [1, 1]}"]
    )
    assert list(light.augment.transforms()) == ["brightness", "contrast", "saturation", "hue"]


def test_the_largest_box_of_each_convention() -> None:
    """Of a picture of 100 x 50 px, resized to twice that."""
    data = change(load_params(Path("demo")).data, {"min_size": 100, "max_size": None})
    assert box_limit((100, 50), data) == (200, 100)
    assert box_limit((100, 50), change(data, {"box_convention": "reference"})) == (198, 98)
