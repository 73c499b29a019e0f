"""`frcnn init`: a project of one's own, with parameters that fit the data."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from frcnn.errors import UserError

from . import check, download
from .terminal import options
from .terminal.advice import print_fit
from .terminal.console import say

CODE = Path(__file__).parent


def run(
    folder: Annotated[Path, typer.Argument(help="Where the project lives; made if absent.")],
    data: Annotated[
        str | None, typer.Option("--data", metavar="PATH", help="Folder, archive or its address: download.source.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="NAME", help="default, demo, finetune or reference; default: finetune."),
    ] = None,
    git: Annotated[bool, typer.Option("--git", help="Make the project a Git repository, which DVC then uses.")] = False,
) -> None:
    """Read the data, write a project to FOLDER: parameters that fit, the pipeline, a README; or renew it."""
    from frcnn.messages import printable
    from frcnn.params import load_params
    from frcnn.presets import commented_params
    from frcnn.template import VERSION, write_project

    if (folder / VERSION).exists():
        if data or preset:
            raise UserError(
                f"{folder}: is a project already; edit its params.yaml, or name another folder; to renew it for this "
                f"version of frcnn: frcnn init {quote(str(folder))}"
            )
        renew_project(folder)
        say(f"{folder}: renewed for this version of frcnn; your params.yaml stays as it is")
        return
    _require_free(folder)
    preset = preset or "finetune"
    parameters = commented_params(preset)
    watched = data is not None and Path(data).expanduser().exists()
    if data:
        source = os.path.abspath(Path(data).expanduser()) if watched else data  # noqa: PTH100 - without ".."
        title = f"# Written by `frcnn init`: the preset {preset}, with what fits {printable(source)}."
        parameters = commented_params(preset, _fit(folder, preset, source), title)
    if git:
        _make_repository(folder)
    write_project(folder, parameters, CODE, _in_repository(folder), watched)
    params = load_params(folder / "params.yaml")
    if not data:
        say(f"{folder}/params.yaml: download.source is {params.download.source}; name your own pictures there")
    if params.model.weights in ("coco", "caffe", "imagenet"):
        say(f"model.weights is {params.model.weights}: the first training fetches it; offline: --preset demo")
    there = "" if folder.resolve() == Path.cwd() else f"cd {quote(str(folder))} && "
    say(f"{folder}: a project; next: {there}dvc repro   (or, without DVC: frcnn run)")


def renew_project(folder: Path) -> None:
    """Have the pipeline of a project depend on the version that is installed now."""
    from frcnn.template import renew, watches_source

    renew(folder, CODE, watches_source(folder))


def _require_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; name a folder")
    for name in ("params.yaml", "dvc.yaml"):
        if (folder / name).exists():
            raise UserError(f"{folder / name}: exists, and {folder} is no project of frcnn; name another folder")


def _fit(folder: Path, preset: str, source: str) -> dict[str, Any]:
    """Install the dataset and report on it; return the parameters that fit, as nested dictionaries.

    Raises:
        UserError: the dataset cannot be read, or training refuses it; what was made is removed.
    """
    from frcnn.data.voc.dataset import VocDataset
    from frcnn.params import load_params, to_dict

    made, data = (folder / "data").resolve(), Path(source).resolve()
    if Path(source).is_dir() and (made.is_relative_to(data) or data.is_relative_to(made)):
        raise UserError(f"{folder}: its folder data and the pictures, {source}, overlap; name a folder elsewhere")
    new = next((path for path in (folder, folder / "data") if not path.exists()), None)
    dataset, overrides = folder / options.DATASET, [f"download.source={json.dumps(source)}"]
    try:
        download.run(Path(preset), overrides, dataset)
        params, workers = load_params(Path(preset), overrides), os.cpu_count() or 1
        if not check.check_briefly(dataset, params, workers):
            raise UserError(
                f"{source}: no project is made of what training would refuse; mend it there, then run this again"
            )
        return to_dict(print_fit(VocDataset(dataset), params, workers, written=True))
    except BaseException:
        if new:
            shutil.rmtree(new, ignore_errors=True)
        raise


def _in_repository(folder: Path) -> bool:
    return any((parent / ".git").exists() for parent in (folder.absolute(), *folder.absolute().parents))


def _make_repository(folder: Path) -> None:
    """Make the folder a Git repository, unless it is in one; its DVC then uses that."""
    if _in_repository(folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"{folder}: `git init` failed ({error}); install Git, or leave --git out") from error
