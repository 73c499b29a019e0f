"""Types of parameters and their ranges."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

from frcnn.param_file import list_per_map, number_of

LARGEST = 2**31 - 1
NUMBER = BeforeValidator(number_of)  # the last, so that the JSON schema states the bounds
Fraction = Annotated[float, Field(ge=0, le=1), NUMBER]
NonNegative = Annotated[float, Field(ge=0), NUMBER]
Positive = Annotated[float, Field(gt=0), NUMBER]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(gt=0, lt=1), NUMBER]
AtLeastOne = Annotated[int, Field(ge=1, le=LARGEST)]
Drawn = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Numbers = Annotated[tuple[Positive, ...], Strict(False), Field(min_length=1)]
LISTS = BeforeValidator(list_per_map, json_schema_input_type=Numbers | tuple[Numbers, ...])
Sizes = Annotated[tuple[Numbers, ...], Strict(False), LISTS]
Names = Annotated[tuple[str, ...], Strict(False), Field(min_length=1)]
Framework = Literal["torch", "tensorflow"]
Precision = Literal["float32", "bf16", "fp16", "auto"]


class Section(BaseModel):
    """A mapping of parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
