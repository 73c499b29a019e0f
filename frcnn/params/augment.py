"""The section `augment`: transforms of training pictures, each with its probability and range, and sets of them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Strict
from pydantic_core import PydanticCustomError

from frcnn.params.types import NUMBER, Fraction, Section

Number = Annotated[float, NUMBER]
Amount = tuple[float, float, float]  # probability, and the ends of the range
# What stands for the transforms that are null; docs/augmentation.md says where the values come from.
RECIPES: dict[str, dict[str, Amount]] = {
    "none": {},
    "light": {
        "scale": (1, 0.8, 1.25), "brightness": (0.5, 0.875, 1.125), "contrast": (0.5, 0.5, 1.5),
        "saturation": (0.5, 0.5, 1.5), "hue": (0.5, -0.05, 0.05),
    },
    "strong": {
        "scale": (1, 0.1, 2), "brightness": (0.8, 0.6, 1.4), "contrast": (0.8, 0.6, 1.4), "saturation": (0.8, 0.6, 1.4),
        "hue": (0.8, -0.1, 0.1), "grayscale": (0.2, 0, 0), "blur": (0.5, 0.1, 2),
    },
}  # fmt: skip


class Chance(Section):
    """A transform without a range."""

    probability: Fraction

    def amount(self) -> Amount:
        """Return probability and range as one tuple."""
        return self.probability, *getattr(self, "range", (0, 0))


class Ranged(Chance):
    """A transform whose amount is uniform in a range."""

    range: Annotated[tuple[Number, Number], Strict(False)]


def _within(least: float, most: float) -> AfterValidator:
    """Return a check of the ends of a range."""

    def check(value: Ranged) -> Ranged:
        if least <= value.range[0] <= value.range[1] <= most:
            return value
        raise PydanticCustomError("range", f"given a range from {least:g} to {most:g}, the smaller number first")

    return AfterValidator(check)


Factor = Annotated[Ranged, _within(0, 10)]


class Geometric(Section):
    """What moves pixels, and the boxes with them; in the order in which they are done."""

    vertical_flip: Chance | None = None
    rotate: Chance | None = None
    zoom_out: Annotated[Ranged, _within(1, 10)] | None = None
    scale: Annotated[Ranged, _within(0.05, 10)] | None = None
    crop: Annotated[Ranged, _within(0.1, 1)] | None = None


class Photometric(Section):
    """What changes pixels where they are; in the order in which they are done, before the others."""

    brightness: Factor | None = None
    contrast: Factor | None = None
    saturation: Factor | None = None
    hue: Annotated[Ranged, _within(-0.5, 0.5)] | None = None
    grayscale: Chance | None = None
    blur: Annotated[Ranged, _within(0, 20)] | None = None
    jpeg: Annotated[Ranged, _within(1, 100)] | None = None


class Augment(Section):
    """Random changes of training pictures, beside the horizontal flip; what is null is as in the preset."""

    preset: Literal["none", "light", "strong"] = "none"
    geometric: Geometric = Geometric()
    photometric: Photometric = Photometric()

    def transforms(self) -> dict[str, Amount]:
        """Return probability and range of every transform that may happen, in order."""
        given = dict(self.photometric) | dict(self.geometric)
        recipe = {name: RECIPES[self.preset].get(name, (0, 0, 0)) for name in given}
        amounts = recipe | {name: value.amount() for name, value in given.items() if value}
        return {name: amount for name, amount in amounts.items() if amount[0]}
