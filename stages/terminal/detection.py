"""Which settings of detection a command takes that needs no project."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frcnn.params import Detect
    from frcnn.params.training import Postprocessing


def detection_settings(params_file: Path | None, overrides: list[str], own: "Postprocessing | None" = None) -> "Detect":
    """Return the section `detect` of a parameter file, or of params.yaml, or the defaults where there is none.

    Args:
        params_file: as named by the user.
        own: of an imported detector, where it has some; they count unless a file is named.
    """
    from frcnn.params import load_params

    if params_file is None and own is not None:
        overrides = [*(f"detect.{name}={json.dumps(value)}" for name, value in own), *overrides]
    path = params_file or Path("params.yaml" if Path("params.yaml").exists() else "default")
    return load_params(path, overrides).detect
