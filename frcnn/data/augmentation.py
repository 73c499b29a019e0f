"""Random changes of training pictures, and of the boxes with them (section `augment`; docs/augmentation.md).

What is drawn for a transform depends on seed, phase, epoch, image and the transform alone. Pillow does the work: unlike
torch's sums of floats, its results do not depend on the number of threads, and the stage `anchors` can show them.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from PIL.JpegImagePlugin import JpegImageFile

from frcnn import boxes
from frcnn.arrays import size_of
from frcnn.params import Params
from frcnn.params.training import Train

FLIP_AND_SAMPLE, AUGMENT = 1, 3  # streams of random numbers; 0: order of the images, 2: which are held out
FILL = (124, 116, 104)  # around a picture: ImageNet's mean, about 0 after preprocessing
LEAST_VISIBLE = 0.25  # of an object's area: the least that SSD's rule, its center stays inside, leaves at a corner
LEAST_SIDE = 2  # px, of an object that stays; Ultralytics has the same limit
TRIALS, MOST_STRETCHED = 50, 2  # of crops: how many are tried, and width / height or its inverse, as in SSD
Key = tuple[int, int, int]  # phase, epoch, image; phase 0 is validation, which nothing changes
Range = tuple[float, float]


@dataclass
class _View:
    """A picture with boxes (G, 4) in its pixels, and the window (4,), in the same, that becomes the result of `size`.

    `extent` is the largest x and y of a box.
    """

    picture: Image.Image
    boxes: np.ndarray
    extent: Range
    size: tuple[int, int]
    window: np.ndarray


def draw_flip(train: Train, key: Key) -> tuple[bool, np.random.Generator]:
    """Return whether an image is mirrored, and the generator of what is sampled in it."""
    rng = np.random.default_rng((train.seed, FLIP_AND_SAMPLE, *key))
    return key[0] > 0 and rng.random() < train.flip_probability, rng


def augment(
    image: np.ndarray, gt_boxes: np.ndarray, extent: Range, params: Params, key: Key
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Change an image at random; its size stays.

    Args:
        image: (H, W, 3) uint8, resized and perhaps mirrored; not changed.
        gt_boxes: (G, 4) float32 in its pixels.
        extent: the largest x and y of a box (`frcnn.data.resizing.sizes.box_limit`).

    Returns:
        The image (H, W, 3) uint8 and, if its boxes moved, those that are left, (n, 4) float32, and the indices (n,)
        int64 of their objects.
    """
    transforms = params.augment.transforms()
    if not transforms or not key[0]:
        return image, None
    size, moved = size_of(image), False
    view = _View(Image.fromarray(image), gt_boxes.astype(np.float64), extent, size, np.array([0.0, 0, *size]))
    for name, (probability, low, high) in transforms.items():
        rng = np.random.default_rng((params.train.seed, AUGMENT, *key, NUMBERS[name]))
        if rng.random() >= probability:
            continue
        if name in PHOTOMETRIC:
            view.picture = PHOTOMETRIC[name](view.picture, rng.uniform(low, high))
        else:
            GEOMETRIC[name](view, (low, high), rng)
            moved = True
    if not moved:
        return np.asarray(view.picture), None
    return _look(view, Image.Resampling[params.data.interpolation.upper()])


def _look(view: _View, resampling: Image.Resampling) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return what is in the window, and which objects can be seen; the picture's edges come to lie between pixels."""
    whole, start = np.array(view.picture.size), view.window[:2]
    factor = view.size / (view.window[2:] - start)
    first = np.round(-start * factor)
    last = np.maximum(np.round((whole - start) * factor), first + 1)
    factor = (last - first) / whole
    low, high = np.maximum(first, 0), np.minimum(last, view.size)
    canvas = Image.new("RGB", view.size, FILL)
    if (low < high).all():
        part = np.concatenate([low - first, high - first]) / np.tile(factor, 2)
        part = np.minimum(part, np.tile(whole, 2))  # the last digit of a quotient may lead outside
        width, height = (high - low).astype(int).tolist()
        seen = view.picture.resize((width, height), resampling, box=tuple(part.tolist()))
        canvas.paste(seen, tuple(low.astype(int).tolist()))
    moved = view.boxes * np.tile(factor, 2) + np.tile(first, 2)
    cut = boxes.clip(moved, *view.size)
    large = (cut[:, 2:] - cut[:, :2] >= LEAST_SIDE).all(1)
    kept = np.flatnonzero(large & (_visible(moved, np.array([0, 0, *view.size])) >= LEAST_VISIBLE))
    return np.asarray(canvas), (cut[kept].astype(np.float32), kept)


def _visible(objects: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Return the share (..., G) of the area of objects (G, 4) that is in windows (..., 4)."""
    low = np.maximum(objects[:, :2], windows[..., None, :2])
    high = np.minimum(objects[:, 2:], windows[..., None, 2:])
    return (high - low).clip(0).prod(-1) / boxes.area(objects)


def _part(window: np.ndarray, sides: np.ndarray | float, places: np.ndarray) -> np.ndarray:
    """Return windows (..., 4) in or around one, of sides (..., 2) relative to its own, at places (..., 2) in 0..1."""
    whole = window[2:] - window[:2]
    low = window[:2] + places * (1 - sides) * whole
    return np.concatenate([low, low + sides * whole], -1)


def _vertical_flip(view: _View, ends: Range, rng: np.random.Generator) -> None:
    view.picture = view.picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    view.boxes[:, 1::2] = view.extent[1] - view.boxes[:, 3::-2]


def _rotate(view: _View, ends: Range, rng: np.random.Generator) -> None:
    """Rotate by 90, 180 or 270 degrees, and fit the whole picture into the window."""
    for _ in range(rng.integers(1, 4)):
        view.picture = view.picture.transpose(Image.Transpose.ROTATE_90)
        x1, y1, x2, y2 = view.boxes.T
        view.boxes = np.stack([y1, view.extent[0] - x2, y2, view.extent[0] - x1], 1)
        view.extent = view.extent[::-1]
    whole = np.array(view.picture.size)
    sides = np.array(view.size) / whole
    view.window = _part(np.array([0, 0, *whole]), sides / sides.min(), rng.random(2))


def _zoom_out(view: _View, ends: Range, rng: np.random.Generator) -> None:
    view.window = _part(view.window, rng.uniform(*ends), rng.random(2))


def _scale(view: _View, ends: Range, rng: np.random.Generator) -> None:
    view.window = _part(view.window, 1 / rng.uniform(*ends), rng.random(2))


def _crop(view: _View, ends: Range, rng: np.random.Generator) -> None:
    """Take the first of `TRIALS` parts that shows an object, if there is one; else leave the window as it is."""
    sides, places = rng.uniform(*ends, (TRIALS, 2)), rng.random((TRIALS, 2))
    windows = _part(view.window, sides, places)
    fits = sides.max(1) <= MOST_STRETCHED * sides.min(1)
    if len(view.boxes):
        fits &= (_visible(view.boxes, windows) >= LEAST_VISIBLE).any(1)
    if fits.any():
        view.window = windows[fits.argmax()]


def _hue(picture: Image.Image, turns: float) -> Image.Image:
    hue, *rest = picture.convert("HSV").split()
    turned = hue.point([(value + round(255 * turns)) % 255 for value in range(256)])  # a turn has 255 values
    return Image.merge("HSV", (turned, *rest)).convert("RGB")


def _jpeg(picture: Image.Image, quality: float) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=round(quality))
    file.seek(0)
    return JpegImageFile(file).convert("RGB")


PHOTOMETRIC: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    "contrast": lambda picture, factor: ImageEnhance.Contrast(picture).enhance(factor),
    "saturation": lambda picture, factor: ImageEnhance.Color(picture).enhance(factor),
    "hue": _hue,
    "grayscale": lambda picture, _: picture.convert("L").convert("RGB"),
    "blur": lambda picture, sigma: picture.filter(ImageFilter.GaussianBlur(sigma)),
    "jpeg": _jpeg,
}
GEOMETRIC: dict[str, Callable[[_View, Range, np.random.Generator], None]] = {
    "vertical_flip": _vertical_flip, "rotate": _rotate, "zoom_out": _zoom_out, "scale": _scale, "crop": _crop,
}  # fmt: skip
NUMBERS = {name: number for number, name in enumerate((*PHOTOMETRIC, *GEOMETRIC))}  # of their random numbers
