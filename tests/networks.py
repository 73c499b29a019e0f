"""Small networks for the tests, and parameters with some values replaced."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from frcnn.detector.batch import Batch
from frcnn.detector.config import detector_config
from frcnn.params import Params, Section, Train
from frcnn.pytorch.faster_rcnn import FasterRCNN
from frcnn.pytorch.inputs import batch_inputs

AnySection = TypeVar("AnySection", bound=Section)


def change(section: AnySection, values: Mapping[str, Any]) -> AnySection:
    """Return parameters with the values of some keys, dotted where they are nested, replaced."""
    for key, value in values.items():
        name, _, rest = key.partition(".")
        section = section.model_copy(update={name: change(getattr(section, name), {rest: value}) if rest else value})
    return section


def build(params: Params, values: Mapping[str, Any] | None = None) -> FasterRCNN:
    """Build a detector of three classes with random weights, seeded; `values` replace parameters of `model`."""
    torch.manual_seed(0)
    model = change(params.model, values or {})
    return FasterRCNN(detector_config(["a", "b", "c"], params.model_copy(update={"model": model})))


def losses_of(
    model: FasterRCNN, batch: Batch, train: Train, precision: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Return the four losses of a batch."""
    return model(batch_inputs(batch, model.config), train, precision)
