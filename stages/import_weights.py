"""Command `import-weights`: turn weight files of other projects into this one's."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frcnn.errors import UserError

from .terminal.options import Overrides, ParamsFile

if TYPE_CHECKING:
    from frcnn.importing.tensor_source import Recognized
    from frcnn.params import Params


class Preparation(StrEnum):
    """How pictures are prepared for a network."""

    caffe = "caffe"
    torchvision = "torchvision"


def run(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="Weights of another project.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Weights to write (.safetensors).")],
    params_file: ParamsFile = Path("reference"),
    overrides: Overrides = None,
    classes_file: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            metavar="FILE",
            help="A detector's classes, one per line; default: VOC's, or COCO's 80.",
        ),
    ] = None,
    preparation: Annotated[
        Preparation | None,
        typer.Option("--preparation", help="How pictures are prepared, for a VGG-16 whose file does not tell."),
    ] = None,
) -> None:
    """Read weights of another project, write initial weights for training or a detector."""
    from frcnn.data.voc.dataset import read_names
    from frcnn.detector.weights_file import write_weights
    from frcnn.files import sha256_file
    from frcnn.importing.convert import class_names_of, classification_weights, detector_weights, imported_config
    from frcnn.importing.recognize import recognize
    from frcnn.training.initial_weights import write_initial

    from .terminal.console import say

    if not source.is_file():
        raise UserError(f"{source}: no such file")
    if out.exists() and out.samefile(source):
        raise UserError(f"{out}: is the file to be read; choose another name with --out")
    sha256 = sha256_file(source)
    found = recognize(source, sha256, preparation)
    provenance = {"sha256": sha256, "layout": found.layout}
    if found.class_bias is None:
        if overrides or classes_file:
            raise UserError(f"{source}: holds classification weights; --set and --classes are for detectors")
        write_initial(out, classification_weights(found, str(source)), found.backbone, found.preprocessing, provenance)
        say(f"{out}: initial weights for model.backbone: {found.backbone}, from {found.layout}")
    else:
        params = _params_for(found, source, params_file, overrides or [])
        class_names = read_names(classes_file) if classes_file else class_names_of(found)
        config = imported_config(found, class_names, params)
        write_weights(out, config, detector_weights(found, config, str(source)), provenance)
        say(f"{out}: detector, {found.backbone}, {len(class_names)} classes, from {found.layout}")
        if detection := [text for text in found.preferred if text.startswith("detect.")]:
            options = " ".join(f"-S {text}" for text in detection)
            say(f"frcnn predict detects as its project does; for frcnn detect say {options}")


def _params_for(found: "Recognized", source: Path, params_file: Path, overrides: list[str]) -> "Params":
    """Return the parameters with what the file itself fixes."""
    from frcnn.importing.convert import fixed_parameters
    from frcnn.params import load_params

    fixed = fixed_parameters(found)
    params = load_params(params_file, [*found.preferred, *overrides, *fixed])
    if params != load_params(params_file, [*found.preferred, *fixed, *overrides]):
        keys = ", ".join(text.split("=")[0] for text in fixed)
        raise UserError(f"--set: {source} fixes {keys}; set none of them")
    return params
